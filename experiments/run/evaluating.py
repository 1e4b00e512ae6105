"""Finished models tested on any data set, without training: each test set in a folder of its own.

Nothing of the run but its model.json and prompts.safetensors is read.
"""

import hashlib
import json
import os
import pathlib
import time
from collections.abc import Mapping
from typing import Any

from data_pipelines.examples import Dataset
from experiments.cli import memory
from experiments.config.config import Config
from experiments.record import identity, workdir
from experiments.record.files import results_file
from experiments.record.peers import SEEN
from experiments.record.runs import EVALUATION, STAND_IN
from experiments.run import experiment, testing
from experiments.run.elsewhere import Model, build_config, build_plan
from experiments.setup import building, overview, plans, preprocessing
from experiments.setup.plans import Plan
from experiments.setup.preparation import Testable
from experiments.setup.tasks import make_tests
from prompt_jax.errors import PromptError
from prompt_jax.inputs.images.preprocessing import Preprocessing
from prompt_jax.models import saved
from prompt_jax.storage.files import seal
from prompt_jax.text.class_names import Classes
from prompt_jax.training.sharding import Placement

FOLDER = "evaluations"
_PREPARED = "preprocessing."
# What of a training tells models apart, beside their arrays.
_TRAINED = (
    *("dataset", "domain", "protocol", "ablation", "variant", "shots", "seed", "init_from"),
    "training_list",
)
# What `fit` told of its training before it wrote a config.
_GIVEN = ("pictures", "epochs", "batch_size", "learning_rate")


class Backbones:
    """Loaded CLIPs, each once, by what they hold."""

    def __init__(self, placement: Placement):
        """Puts their parameters where the placement says."""
        self._placement = placement
        self._loaded: dict[str, building.Backbone] = {}

    def of(self, config: Config, model: Model) -> building.Backbone:
        """A model's backbone, computing as the config says.

        Raises:
            PromptError: it cannot be loaded, or is another one than the model was trained on.
        """
        wanted = model.saved.backbone_hash
        if wanted not in self._loaded:
            loaded = building.build_backbone(config, model.saved.sizes.activation)
            if loaded.fingerprint != wanted:
                raise PromptError(
                    f"{model.folder} was trained on another backbone ({wanted[:8]}) than "
                    f"{config.backbone} holds now ({loaded.fingerprint[:8]}); say where it is: "
                    "--config.backbone=…"
                )
            frozen = self._placement.replicate(loaded.frozen)
            self._loaded[wanted] = loaded._replace(frozen=frozen)
        there = self._loaded[wanted]
        saved.check_sizes(model.saved, there.clip.config, config.backbone)
        return there._replace(clip=building.make_clip(config, there.clip.config))


def evaluate(
    model: Model,
    key: str,
    changes: Mapping[str, Any],
    backbones: Backbones,
    placement: Placement,
    out: pathlib.Path | None = None,
) -> pathlib.Path:
    """Tests a model on one test set, unless that was done before.

    Args:
        model: what is tested.
        key: "name", "name:domain", or of classes also "name:base" and "name:new".
        changes: of `FIELDS`, those that are not as usual.
        backbones: those that are loaded already.
        placement: where arrays live.
        out: where the evaluation's folder is made; by default in the model's, in `FOLDER`.

    Returns:
        Its results.json.

    Raises:
        PromptError, DataError: the model cannot be tested on it, the data is missing or malformed,
            or what lies where it belongs is damaged.
    """
    config = build_config(model, key, changes)
    method, settings = building.build_method(config)
    placement.check("eval_batch_size", config.eval_batch_size)
    inputs = model.saved.inputs
    plan = build_plan(config, key, model.saved.sizes.image_size, inputs.preprocessing)
    [key] = plan.tests  # as it is called
    description = describe(model, config, plan, key)
    place = _place(model.folder, out, key, description)
    earlier = description | {"pictures": identity.of_test_before(plan.hashes, key)}
    before = _place(model.folder, out, key, earlier)
    if not _has_folders(plan.tests[key]) and _is_done(before, earlier, config):
        place, description = before, earlier  # by a version that did not look into files
    if _is_done(place, description, config):
        print(f"evaluated before: {place / 'results.json'}")
        return place / "results.json"
    with memory.telling(config):
        backbone = backbones.of(config, model)
        plan = plans.check_images(plan, config.data.on_bad_image == "skip")
        plans.refuse_empty(plan, trains=False)
        plan = overview.show(plan, shots=0, trains=False)
        plan = overview.tell(plan, (*backbone.assumed, *_turned(plan.tests[key], inputs.upright)))
        plans.check_views(plan, config.data.views)
        known = Classes(model.saved.class_names, model.saved.class_ids)
        tests, compared = make_tests(
            config, method, settings, backbone, placement, plan.tests, known
        )
        run = Testable(config, place, method, backbone, plan, placement, tests, compared)
        workdir.make_workdir(place)
        workdir.lock(place)
        with workdir.giving_back(place):
            test(run, model, key, description)
    workdir.release(place)
    return place / "results.json"


def _turned(dataset: Dataset, upright: bool) -> list[str]:
    """Says so where images are turned, and those of the training were not, or the reverse."""
    if dataset.folder is None or dataset.upright == upright:
        return []
    how = ["seen as they are stored", "turned as their files say (EXIF orientation)"]
    return [
        f"{dataset.kind} of {dataset.name} are {how[dataset.upright]}; in the training they "
        f"were {how[upright]}"
    ]


def trained_with(told: Mapping[str, Any]) -> dict[str, Any]:
    """What models of one average agree in: of a run its config, of `fit` what it was given, of an
    imported checkpoint that one itself."""
    if "config" in told:
        return dict(told["config"])
    given = {name: told[name] for name in _GIVEN if name in told}
    return given | ({"checkpoint": told["sha256"][: identity.SHORT]} if "sha256" in told else {})


def describe(model: Model, config: Config, plan: Plan, key: str) -> dict[str, Any]:
    """What makes an evaluation this one: the model, the test set, and how it is seen."""
    one = model.saved
    trained = {field: one.trained[field] for field in _TRAINED if field in one.trained}
    return {
        "model": {
            "prompts": saved.digest(one.prompts),
            "method": one.method,
            "settings": dict(one.settings),
            "class_names": list(one.class_names),
            "backbone_hash": one.backbone_hash,
            "trained": trained | {"config": one.trained.get("config", {})},
        },
        "key": key,
        "pictures": identity.of_test(plan.hashes, key),
        "seen": seen(config, one.inputs.preprocessing),
    }


def seen(config: Config, prepared: Preprocessing) -> dict[str, Any]:
    """How test images or videos are looked at, by the fields' names."""
    fields = SEEN
    if not config.data.on_videos:
        fields = [*(name for name in SEEN if "." not in name), "data.ignore_rotation"]
    flat = identity.flat(identity.as_json(config))
    found = {field: value for field, value in flat if field in fields}
    differing = preprocessing.written(prepared, config.data)
    return found | {f"{_PREPARED}{name}": value for name, value in differing.items()}


def prepared(results: Mapping[str, Any], config: Config) -> Preprocessing:
    """How the test images of an evaluation were prepared, by its results.json."""
    told = results["seen"].items()
    differing = {n.removeprefix(_PREPARED): v for n, v in told if n.startswith(_PREPARED)}
    return preprocessing.reread(differing, config.data)


def _digest(description: Mapping[str, Any]) -> str:
    text = json.dumps(description, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _place(
    folder: pathlib.Path, out: pathlib.Path | None, key: str, description: Mapping[str, Any]
) -> pathlib.Path:
    """Where an evaluation lies: others of the same name have other digests."""
    if out is None and not os.access(folder, os.W_OK):
        raise PromptError(f"{folder} may not be written to; say where results shall go: --out=DIR")
    name = f"{key.replace(':', '-')}-{_digest(description)[:8]}"
    return (folder / FOLDER if out is None else out) / name


def _has_folders(dataset: Dataset) -> bool:
    """Whether test videos are directories of frames, into which earlier versions did not look."""
    return dataset.kind == "videos" and any(
        dataset.folder is not None and os.path.isdir(dataset.folder / one.image)
        for one in dataset.test
    )


def _is_done(place: pathlib.Path, description: Mapping[str, Any], config: Config) -> bool:
    path = place / "results.json"
    if not os.path.lexists(path):
        return False
    try:
        there, _ = results_file.read(path)
        same, left_out = there["evaluation"] == _digest(description), there["skipped_pictures"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise PromptError(
            f"{path} is damaged ({type(error).__name__}: {error}); delete it to evaluate again"
        ) from error
    if not same:
        raise PromptError(f"{path} is another evaluation's; say where this one goes: --out=DIR")
    if left_out and config.data.on_bad_image == "stop":
        raise PromptError(
            f"{path} left out {len(left_out)} unreadable images; delete it to evaluate again "
            "with all of them, or say --config.data.on_bad_image=skip to keep it"
        )
    return True


def test(run: Testable, model: Model, key: str, description: Mapping[str, Any]) -> None:
    """Tests, and writes what `runs.read` reads: results.json last."""
    began = time.perf_counter()
    prompts = run.placement.replicate(model.saved.prompts)
    with run.plan.listing_all_bad(run.plan.tests[key]):
        found = testing.test(run, prompts, key)
    found["seconds"] = time.perf_counter() - began
    workdir.refuse_removed(run.folder)
    workdir.write_json(run.folder / "results.json", seal(collect(run, model, found, description)))


def collect(
    run: Testable, model: Model, found: dict[str, Any], description: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything that an evaluation's results.json says: of the training, what the model tells.

    One that was trained or brought by other means than a config tells less.
    """
    key = description["key"]
    told = {name: value for name, value in model.saved.trained.items() if value is not None}
    results = {
        "method": model.saved.method,
        "protocol": EVALUATION,
        "ablation": told.get("ablation", ""),
        "variant": told.get("variant", ""),
        "backbone": run.config.backbone,
        "backbone_hash": run.backbone.fingerprint,
        "assumed": list(run.backbone.assumed),
        "dataset": told.get("dataset", "other data"),
        "shots": told.get("shots", 0),
        "shots_per_class": told.get("shots_per_class"),
        "seed": told.get("seed", 0),
        "chosen": told.get("chosen", {}),
        "features": told.get("features", ""),
        "trainable_parameters": told.get("trainable_parameters"),
        **experiment.figures_of({key: found}),
        "skipped_pictures": experiment.skipped(run.plan),
        "data_notes": list(run.plan.notes),
        "data_hashes": run.plan.hashes,
        "evaluation": _digest(description),
        "seen": description["seen"],
        "source": {
            "folder": str(model.folder),
            "protocol": told.get("protocol", told.get("by", "prompt_jax.fit")),
            "prompts": description["model"]["prompts"],
            "config": trained_with(told),
            "training_list": told.get("training_list"),
        },
        "git_commit": workdir.git_commit(),
        "config": identity.as_json(run.config) | {"protocol": EVALUATION},
    }
    if "init_from" in told:
        results["init_from"] = {"prompts": told["init_from"]}
    if "note" in told or key.startswith("emoji_") or run.config.backbone == "embedded":
        results["note"] = STAND_IN
    return results

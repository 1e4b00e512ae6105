"""Evaluates finished models on any data set, without training, with a directory per test set.

Reads only model.json and prompts.safetensors of a run.
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
from experiments.record.peers import TEST_FIELDS
from experiments.record.runs import EVALUATION, STAND_IN
from experiments.run import experiment, testing
from experiments.run.evaluation_plans import Model, build_config, build_plan
from experiments.setup import building, loading, overview, plans, preprocessing
from experiments.setup.batches import check_views
from experiments.setup.building import make_tests
from experiments.setup.plans import Plan
from experiments.setup.preparation import Testable
from prompt_jax.errors import PromptError
from prompt_jax.inputs.images.preprocessing import Preprocessing
from prompt_jax.models import saved
from prompt_jax.storage.files import seal
from prompt_jax.text.class_names import Classes
from prompt_jax.text.class_texts import PASS, Texts
from prompt_jax.training.sharding import Placement

FOLDER = "evaluations"
_PREPARED = "preprocessing."
# Fields of a training that identify a model, beside its arrays.
_TRAINED = (
    *("dataset", "domain", "protocol", "ablation", "variant", "shots", "seed", "init_from"),
    "training_list",
)
# Fields that `fit` recorded in versions that did not record a config.
_GIVEN = ("pictures", "epochs", "batch_size", "learning_rate")


class Backbones:
    """Caches loaded backbones by their hash."""

    def __init__(self, placement: Placement):
        """Takes the placement of the parameters."""
        self._placement = placement
        self._loaded: dict[str, building.Backbone] = {}

    def of(self, config: Config, model: Model) -> building.Backbone:
        """Returns a model's backbone, with the precision and memory of the config.

        Raises:
            PromptError: the backbone cannot be loaded, or is not the one of the training.
        """
        wanted = model.saved.backbone_hash
        if wanted not in self._loaded:
            loaded = building.build_backbone(config, model.saved.sizes.activation)
            if loaded.fingerprint != wanted:
                raise PromptError(
                    f"{model.folder} was trained on another backbone (hash {wanted[:8]}) than "
                    f"{config.backbone} (hash {loaded.fingerprint[:8]}); give its location: "
                    "--config.backbone=…"
                )
            frozen = self._placement.put_frozen(loaded.frozen)
            self._loaded[wanted] = loaded._replace(frozen=frozen)
        there = self._loaded[wanted]
        saved.check_sizes(model.saved, there.clip.config, config.backbone)
        return there._replace(
            clip=building.make_clip(config, there.clip.config, self._placement.mesh)
        )


def evaluate(
    model: Model,
    key: str,
    changes: Mapping[str, Any],
    backbones: Backbones,
    placement: Placement,
    out: pathlib.Path | None = None,
) -> pathlib.Path:
    """Evaluates a model on one test set, unless this evaluation is finished.

    Args:
        model: the model.
        key: the test set: "name", "name:domain" or, except for retrieval, "name:base" and
            "name:new".
        changes: changed values of `FIELDS`, by name.
        backbones: cache of loaded backbones.
        placement: placement of arrays on devices.
        out: parent of the evaluation's directory; by default `FOLDER` in the run directory.

    Returns:
        The path of its results.json.

    Raises:
        PromptError, DataError: the model cannot be evaluated on this data, the data is missing or
            malformed, or existing results are damaged.
    """
    config = build_config(model, key, changes)
    method, settings = building.build_method(config)
    placement.check("eval_batch_size", config.eval_batch_size)
    inputs = model.saved.inputs
    plan = build_plan(config, key, model.saved.sizes.image_size, inputs.preprocessing)
    [key] = plan.tests  # its name in results
    texts = model.saved.texts and model.saved.texts.with_advice(PASS.format("--config.texts=…"))
    if "texts" in changes:
        texts = loading.read_texts(config, method)
    description = describe(model, config, plan, key, texts)
    place = _directory(model.folder, out, key, description)
    # Earlier versions did not hash the contents of files, or directories of frames at all.
    unhashed = description | {"pictures": identity.of_test_before(plan.hashes, key)}
    old_place = _directory(model.folder, out, key, unhashed)
    if not _has_folders(plan.tests[key]) and _is_done(old_place, unhashed, config):
        place, description = old_place, unhashed
    if _is_done(place, description, config):
        print(f"already evaluated: {place / 'results.json'}")
        return place / "results.json"
    with memory.explain_out_of_memory(config):
        backbone = backbones.of(config, model)
        plan = plans.check_images(plan, config.data.on_bad_image == "skip")
        plans.refuse_empty(plan, trains=False)
        plan = overview.show(plan, shots=0, trains=False)
        plan = overview.add_notes(
            plan, (*backbone.assumed, *_orientation_notes(plan.tests[key], inputs.upright))
        )
        check_views(plan.tests.values(), config.data.views)
        known = Classes(model.saved.class_names, model.saved.class_ids)
        tests, compared = make_tests(
            config, method, settings, backbone, placement, plan.tests, known, texts
        )
        made = config, place, method, backbone, plan, placement, tests, compared
        run = Testable(*made, temperature=model.saved.temperature)
        workdir.make_workdir(place)
        workdir.lock(place)
        with workdir.release_on_error(place):
            test(run, model, key, description)
    workdir.release(place)
    return place / "results.json"


def _orientation_notes(dataset: Dataset, upright: bool) -> list[str]:
    """Returns a note if only training or only testing applies the EXIF orientation."""
    if dataset.folder is None or dataset.upright == upright:
        return []
    how = ["used as stored", "rotated by their EXIF orientation"]
    return [
        f"{dataset.kind} of {dataset.name} are {how[dataset.upright]}; in training they were "
        f"{how[upright]}"
    ]


def trained_with(training: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings of a training; tables average only models in which they are equal.

    These are a run's config, the arguments of `fit`, or the hash of an imported checkpoint.
    """
    if "config" in training:
        return dict(training["config"])
    given = {name: training[name] for name in _GIVEN if name in training}
    return given | (
        {"checkpoint": training["sha256"][: identity.SHORT]} if "sha256" in training else {}
    )


def describe(
    model: Model, config: Config, plan: Plan, key: str, texts: Texts | None = None
) -> dict[str, Any]:
    """Returns the identity of an evaluation: model, test set, preprocessing, texts of classes."""
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
        "seen": fields_of_test(config, one.inputs.preprocessing)
        | ({"texts": texts.digest[: identity.SHORT]} if texts else {}),
    }


def fields_of_test(config: Config, prepared: Preprocessing) -> dict[str, Any]:
    """Returns the fields that affect how test images or videos are read, by name."""
    fields = TEST_FIELDS
    if not config.data.on_videos:
        fields = [*(name for name in TEST_FIELDS if "." not in name), "data.ignore_rotation"]
    flat = identity.flat(identity.as_json(config))
    found = {field: value for field, value in flat if field in fields}
    differing = preprocessing.written(prepared, config.data)
    return found | {f"{_PREPARED}{name}": value for name, value in differing.items()}


def prepared(results: Mapping[str, Any], config: Config) -> Preprocessing:
    """Returns the preprocessing of an evaluation from its results.json."""
    recorded = results["seen"].items()
    differing = {n.removeprefix(_PREPARED): v for n, v in recorded if n.startswith(_PREPARED)}
    return preprocessing.reread(differing, config.data)


def _digest(description: Mapping[str, Any]) -> str:
    text = json.dumps(description, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _directory(
    folder: pathlib.Path, out: pathlib.Path | None, key: str, description: Mapping[str, Any]
) -> pathlib.Path:
    """Returns the directory of an evaluation, named by test set and digest."""
    if out is None and not os.access(folder, os.W_OK):
        raise PromptError(f"{folder} is not writable; choose another output directory: --out=DIR")
    name = f"{key.replace(':', '-')}-{_digest(description)[:8]}"
    return (folder / FOLDER if out is None else out) / name


def _has_folders(dataset: Dataset) -> bool:
    """Returns whether test videos are directories of frames."""
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
        raise PromptError(f"{path} belongs to another evaluation; choose another --out=DIR")
    if left_out and config.data.on_bad_image == "stop":
        raise PromptError(
            f"{path} excludes {len(left_out)} unreadable images; delete it to evaluate again "
            "with all of them, or pass --config.data.on_bad_image=skip to keep it"
        )
    return True


def test(run: Testable, model: Model, key: str, description: Mapping[str, Any]) -> None:
    """Evaluates a model and writes the files of a run directory, results.json last."""
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
    """Returns the content of an evaluation's results.json.

    Fields of the training come from the model; those that it does not record, as in models of `fit`
    and imported ones, have neutral values.
    """
    key = description["key"]
    training = {name: value for name, value in model.saved.trained.items() if value is not None}
    results = {
        "method": model.saved.method,
        "protocol": EVALUATION,
        "ablation": training.get("ablation", ""),
        "variant": training.get("variant", ""),
        "backbone": run.config.backbone,
        "backbone_hash": run.backbone.fingerprint,
        "assumed": list(run.backbone.assumed),
        "dataset": training.get("dataset", "other data"),
        "kind": model.saved.kind,
        "shots": training.get("shots", 0),
        "shots_per_class": training.get("shots_per_class"),
        "seed": training.get("seed", 0),
        "chosen": training.get("chosen", {}),
        "features": training.get("features", ""),
        "trainable_parameters": training.get("trainable_parameters"),
        **experiment.figures_of({key: found}),
        "skipped_pictures": experiment.skipped(run.plan),
        "data_notes": list(run.plan.notes),
        "data_hashes": run.plan.hashes,
        "evaluation": _digest(description),
        "seen": description["seen"],
        "source": {
            "folder": str(model.folder),
            "protocol": training.get("protocol", training.get("by", "prompt_jax.fit")),
            "prompts": description["model"]["prompts"],
            "config": trained_with(training),
            "training_list": training.get("training_list"),
        },
        "git_commit": workdir.git_commit(),
        "config": identity.as_json(run.config) | {"protocol": EVALUATION},
    }
    if "init_from" in training:
        results["init_from"] = {"prompts": training["init_from"]}
    if "note" in training or key.startswith("emoji_") or run.config.backbone == "embedded":
        results["note"] = STAND_IN
    return results

"""One experiment: a config becomes data, backbone, method, training, evaluation and results."""

import contextlib
import json
import os
import pathlib
import subprocess
import time
from typing import Any

from ml_collections import ConfigDict

from data_pipelines import loader, pictures
from data_pipelines.errors import BadPicture
from data_pipelines.examples import Dataset
from experiments import building, progress, training
from prompt_jax import methods
from prompt_jax.errors import PromptError
from prompt_jax.evaluate import Accuracy, Evaluator
from prompt_jax.metrics import harmonic_mean
from prompt_jax.sharding import Placement

STAND_IN = (
    "the embedded CLIP and scenes are a small stand-in: figures on them say how methods learn, "
    "and are not comparable with published ones"
)


def run(config: ConfigDict, workdir: str | os.PathLike) -> dict[str, Any]:
    """Trains on the base classes, tests on both halves, and writes `workdir`/results.json.

    A finished run is not run again: its results are returned. One that was stopped goes on.

    Raises:
        PromptError, DataError: a mistake in the config, the data or the workdir, in one sentence.
    """
    began = time.perf_counter()
    building.check(config)
    workdir = pathlib.Path(workdir)
    here = config.to_dict()
    finished = read_results(workdir)
    placement = Placement()
    if finished is None:
        for field in ("batch_size", "eval_batch_size"):
            placement.check(field, config[field])
    method, settings = building.build_method(config)
    backbone = building.build_backbone(config)
    if finished is not None:
        trained_on = finished["pictures"]["train"]
        there = training.identify(finished["config"], finished["backbone_hash"], trained_on)
        identity = training.identify(here, backbone.fingerprint, trained_on)
        training.refuse_other_run(workdir, identity, there)
        print(f"finished before: {workdir / 'results.json'}")
        return finished

    image_size = backbone.clip.config.image_size
    halves = building.build_data(config, image_size)
    identity = training.identify(here, backbone.fingerprint, len(halves.base.train))
    claim_workdir(workdir, identity)
    note_small_tower(settings, backbone.clip.config.image_layers)

    clip, frozen = backbone.clip, placement.replicate(backbone.frozen)

    def task(half: Dataset, settings: Any) -> methods.Task:
        made = methods.make_task(clip, frozen, half.class_names, settings, half.template)
        return placement.replicate(made)

    threads = None if config.data.num_threads < 0 else config.data.num_threads
    try:
        batches = loader.train_batches(
            halves.base,
            halves.base.train,
            config.batch_size,
            image_size,
            config.seed,
            num_threads=threads,
        )
        steps = loader.steps_per_epoch(len(halves.base.train), config.batch_size)
        # With fewer pictures than a batch the whole set is one: the devices must divide that.
        placement.check("training pictures", min(len(halves.base.train), config.batch_size))
        base_task = task(halves.base, settings)
        with contextlib.closing(batches):
            trained = training.fit(
                config, identity, method, base_task, batches, steps, placement, workdir
            )

        def test(name: str, prompts: Any) -> dict[str, Accuracy]:
            tested = methods.get(name)
            evaluate = Evaluator(tested)
            options = settings if name == config.method else tested.Settings()

            def measure(half: str, data: Dataset) -> Accuracy:
                title = f"{name} on {half}"
                batches = _test_batches(title, data, config, image_size, threads, placement)
                return evaluate(prompts, task(data, options), batches)

            return {"base": measure("base", halves.base), "new": measure("new", halves.new)}

        testing = time.perf_counter()
        accuracy = test(config.method, trained.prompts)
        test_seconds = time.perf_counter() - testing
        zero_shot = accuracy if config.method == "zero_shot" else test("zero_shot", {})
    except BadPicture as bad:
        raise pictures.all_bad_error(halves.base, halves.used, bad) from bad

    test_pictures = sum(half.pictures for half in accuracy.values())
    test_rate = test_pictures / test_seconds
    results = {
        "method": config.method,
        "protocol": config.protocol,
        "backbone": config.backbone,
        "backbone_hash": backbone.fingerprint,
        "dataset": config.data.name,
        "shots": config.data.shots,
        "seed": config.seed,
        **_scores(accuracy),
        "zero_shot": _scores(zero_shot),
        "per_iteration": {half: accuracy[half].per_iteration for half in accuracy},
        "classes": {"base": len(halves.base.class_names), "new": len(halves.new.class_names)},
        "pictures": {
            "train": len(halves.base.train),
            "test_base": accuracy["base"].pictures,
            "test_new": accuracy["new"].pictures,
        },
        "skipped_pictures": [f"{path}: {reason}" for path, reason in halves.bad],
        "seconds": time.perf_counter() - began,
        "images_per_second": trained.pictures / trained.seconds if trained.seconds else test_rate,
        "train_seconds": trained.seconds,
        "test_seconds": test_seconds,
        "test_images_per_second": test_rate,
        "git_commit": git_commit(),
        "config": here,
    }
    if config.backbone == "embedded" or config.data.name == "emoji_scenes":
        results["note"] = STAND_IN
    write_json(workdir / "results.json", results)
    return results


def _test_batches(title, data, config, image_size, threads, placement):
    """Batches of a test set, placed, with a bar."""
    size = config.eval_batch_size
    total = loader.steps_per_epoch(len(data.test) + size - 1, size)
    batches = loader.test_batches(data, data.test, size, image_size, threads)
    with progress.bar(title, total) as advance:
        for number, batch in enumerate(batches, 1):
            yield placement.split(batch)
            advance(number, "")


def _scores(accuracy: dict[str, Accuracy]) -> dict[str, float]:
    base, new = accuracy["base"].final, accuracy["new"].final
    return {"base": base, "new": new, "h": harmonic_mean(base, new)}


def note_small_tower(settings: Any, layers: int) -> None:
    """Says so where a method asks for deeper vision prompts than the image tower is."""
    depth = getattr(settings, "vision_depth", 0)
    if depth > layers:
        print(f"vision_depth={depth}: the image tower has {layers} layers, all of them get prompts")


def read_results(workdir: pathlib.Path) -> dict[str, Any] | None:
    """The results that a finished run left in `workdir`, or None.

    Raises:
        PromptError: the file there is not what a run writes.
    """
    path = workdir / "results.json"
    if not path.exists():
        return None
    try:
        results = json.loads(path.read_text())
        check_results(results)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise PromptError(
            f"{path} is damaged ({type(error).__name__}: {error}); delete it to finish that run "
            "again from its checkpoint"
        ) from error
    return results


def check_results(results: dict[str, Any]) -> None:
    """Raises whatever an incomplete results.json makes Python raise."""
    _ = results["backbone_hash"], results["pictures"]["train"], results["config"]["backbone"]
    for scores in (results, results["zero_shot"]):
        _ = [float(scores[key]) for key in ("base", "new", "h")]
    list(zip(results["per_iteration"]["base"], results["per_iteration"]["new"], strict=True))


def claim_workdir(workdir: pathlib.Path, identity: dict[str, Any]) -> None:
    """Makes the folder, and writes into run.json whose it is.

    Raises:
        PromptError: it cannot be made or written to, or it is another run's.
    """
    make_workdir(workdir)
    owner = workdir / "run.json"
    if owner.exists():
        try:
            there = dict(json.loads(owner.read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise PromptError(f"{owner} is damaged ({error}); use another --workdir") from error
        training.refuse_other_run(workdir, identity, there)
    write_json(owner, identity)


def make_workdir(workdir: pathlib.Path) -> None:
    """Makes the folder.

    Raises:
        PromptError: it cannot be made, or not be written to.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PromptError(f"--workdir={workdir} cannot be made: {error.strerror}") from error
    for folder in (workdir / "checkpoints", workdir / "tensorboard"):
        if folder.exists() and not folder.is_dir():
            raise PromptError(f"{folder} is a file where a folder belongs; move it away")
    if not os.access(workdir, os.W_OK):
        raise PromptError(f"--workdir={workdir} may not be written to; choose another folder")


def write_json(path: pathlib.Path, content: Any) -> None:
    """Writes all of it or nothing."""
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(content, indent=1) + "\n")
    unfinished.replace(path)


def git_commit() -> str:
    """The commit of this code, with "+changes" where the tree differs; "unknown" outside git."""
    folder = pathlib.Path(__file__).parent

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        commit = git("rev-parse", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no")
    except OSError:
        return "unknown"
    return (commit + ("+changes" if changed else "")) or "unknown"

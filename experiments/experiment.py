"""One experiment: a config becomes data, backbone, method, training, evaluation and results."""

import contextlib
import os
import pathlib
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import grain
import jax
import numpy as np
from ml_collections import ConfigDict

from data_pipelines import loader, pictures
from data_pipelines.errors import BadPicture
from data_pipelines.examples import Dataset
from experiments import building, progress, protocols, training, workdir
from experiments.features import FeatureMaker, read_options
from prompt_jax import methods
from prompt_jax.evaluate import Evaluator
from prompt_jax.metrics import harmonic_mean
from prompt_jax.sharding import Placement

STAND_IN = (
    "the embedded CLIP and scenes are a small stand-in: figures on them say how methods learn, "
    "and are not comparable with published ones"
)
ZERO_SHOT = methods.get("zero_shot")


def run(config: ConfigDict, folder: str | os.PathLike) -> dict[str, Any]:
    """Trains and tests as the config's protocol says, and writes `folder`/results.json.

    A finished run is not run again: its results are returned. One that was stopped goes on.

    Raises:
        PromptError, DataError: a mistake in the config, the data or the folder, in one sentence.
    """
    began = time.perf_counter()
    building.check(config)
    folder = pathlib.Path(folder)
    finished = workdir.read_results(folder)
    placement = Placement()
    if finished is None:
        for field in ("batch_size", "eval_batch_size"):
            placement.check(field, config[field])
    method, settings = building.build_method(config)
    backbone = building.build_backbone(config)
    if finished is not None:
        refuse_other(folder, config, backbone, finished)
        if wanted(config) <= set(finished["accuracy"]):
            print(f"finished before: {folder / 'results.json'}")
            return finished

    clip, frozen = backbone.clip, placement.replicate(backbone.frozen)
    plan = protocols.build(config, clip.config.image_size, method.tune is not None)
    identity = training.identify(
        training.as_json(config), backbone.fingerprint, len(plan.train.train)
    )
    workdir.claim_workdir(folder, identity)
    note_small_tower(settings, clip.config.image_layers)

    known = plan.train.class_names

    def make_task(tested: methods.Method, chosen: Any, dataset: Dataset) -> methods.Task:
        names = dataset.class_names
        made = methods.make_task(
            tested, clip, frozen, names, chosen, dataset.template, trained_index(known, names)
        )
        return placement.replicate(made)

    # Made before training: a task that the method cannot be tested on is refused early.
    task = make_task(method, settings, plan.train)
    tests = {key: make_task(method, settings, dataset) for key, dataset in plan.tests.items()}
    prompts = jax.jit(method.init)(jax.random.key(config.seed), task)
    trainable = training.count_trainable(method, prompts, settings)
    needs_shots = trainable > 0 or method.from_shots is not None
    protocols.refuse_empty(plan, needs_shots)
    trained, described = training.Trained(prompts, 0.0, 0), ""
    if needs_shots:
        makes = FeatureMaker(clip, frozen, config, placement)
        with listing_all_bad(plan, plan.train):
            shots = prepare_shots(config, plan.train, clip.config.image_size, makes, placement)
            described = shots.described
            if method.from_shots and shots.features is not None:
                prompts = method.from_shots(prompts, task, shots.features, shots.labels)
                trainable = training.count_trainable(method, prompts, settings)
            with contextlib.closing(shots.batches):
                trained = training.fit(
                    config,
                    identity,
                    method,
                    task,
                    prompts,
                    shots.batches,
                    shots.steps_per_epoch,
                    placement,
                    folder,
                )
            prompts = trained.prompts
            if method.tune:
                prompts = method.tune(prompts, task, *makes.of_validation(plan.train))

    if config.method == "zero_shot":
        evaluate, prompt_sets = Evaluator([method]), [prompts]
    else:
        evaluate, prompt_sets = Evaluator([method, ZERO_SHOT]), [prompts, {}]
    evaluations = workdir.read_evaluations(folder)
    for key, dataset in plan.tests.items():
        if key in evaluations:
            continue
        tasks = [tests[key]]
        if config.method != "zero_shot":
            tasks.append(make_task(ZERO_SHOT, ZERO_SHOT.Settings(), dataset))
        testing = time.perf_counter()
        with listing_all_bad(plan, dataset):
            title = f"{config.method} on {key}"
            batches = test_batches(title, dataset, config, clip.config.image_size, placement)
            found = evaluate(prompt_sets, tasks, batches)
        evaluations[key] = {
            "accuracy": found[0].final,
            "zero_shot": found[-1].final,
            "per_iteration": found[0].per_iteration,
            "classes": len(dataset.class_names),
            "pictures": found[0].pictures,
            "split_source": dataset.split_source,
            "seconds": time.perf_counter() - testing,
        }
        workdir.write_json(folder / "evaluations.json", evaluations)

    results = collect(config, backbone, plan, evaluations, trained)
    results["trainable_parameters"] = trainable
    results["features"] = described
    results["seconds"] = time.perf_counter() - began
    workdir.write_json(folder / "results.json", results)
    return results


def wanted(config: ConfigDict) -> set[str]:
    """The targets that a finished run must have been tested on."""
    is_transfer = config.protocol in protocols.WITH_TARGETS
    return set(protocols.split_names(config.data.names)) if is_transfer else set()


def refuse_other(folder, config, backbone, finished):
    """Raises a PromptError if `finished` are another run's results."""
    trained_on = finished["pictures"]["train"]
    there = training.identify(finished["config"], finished["backbone_hash"], trained_on)
    here = training.identify(training.as_json(config), backbone.fingerprint, trained_on)
    training.refuse_other_run(folder, here, there)


def trained_index(known: tuple[str, ...], names: tuple[str, ...]) -> list[int]:
    """Which of the classes trained on each class is, by name; `methods.UNSEEN` for another one."""
    if names == known:
        return list(range(len(known)))
    position = {name: label for label, name in enumerate(known)}
    return [position.get(name, methods.UNSEEN) for name in names]


class Shots(NamedTuple):
    """What training reads.

    Attributes:
        batches: of pictures, or of features where those are kept.
        steps_per_epoch: for the schedule.
        features: float32[V, n, d] of the training pictures' views, where those are kept.
        labels: int32[n], theirs.
        described: how pictures become features, in words; "" where each step runs the image tower.
    """

    batches: grain.DatasetIterator
    steps_per_epoch: int
    features: np.ndarray | None
    labels: np.ndarray
    described: str


def prepare_shots(
    config: ConfigDict,
    dataset: Dataset,
    image_size: int,
    makes: FeatureMaker,
    placement: Placement,
) -> Shots:
    """Batches of the training pictures, or, with cached_views, of their features."""
    number, size, views = len(dataset.train), config.batch_size, config.cached_views
    steps = loader.steps_per_epoch(number, size)
    # With fewer pictures than a batch the whole set is one: the devices must divide that.
    placement.check("training pictures", min(number, size))
    labels = np.array([example.label for example in dataset.train], np.int32)
    if not views:
        options = read_options(config)
        batches = loader.train_batches(
            dataset, dataset.train, size, image_size, config.seed, **options
        )
        return Shots(batches, steps, None, labels, "")
    features = makes.of_views(dataset, views)
    batches = loader.feature_batches(features, labels, size, config.seed)
    described = f"cached: {views} augmented view{'s' * (views > 1)} of each training picture"
    return Shots(batches, steps, features, labels, described)


@contextlib.contextmanager
def listing_all_bad(plan: protocols.Plan, dataset: Dataset) -> Iterator[None]:
    """Turns one picture that cannot be read into an error that lists all such of the run."""
    try:
        yield
    except BadPicture as bad:
        raise pictures.all_bad_error(dataset, protocols.used(plan, dataset), bad) from bad


def test_batches(title, data, config, image_size, placement):
    """Batches of a test set, placed, with a bar."""
    size = config.eval_batch_size
    total = -(-len(data.test) // size)
    batches = loader.test_batches(data, data.test, size, image_size, **read_options(config))
    with progress.bar(title, total) as advance:
        for number, batch in enumerate(batches, 1):
            yield placement.split(batch)
            advance(number, "")


def collect(
    config: ConfigDict,
    backbone: building.Backbone,
    plan: protocols.Plan,
    evaluations: dict[str, dict[str, Any]],
    trained: training.Trained,
) -> dict[str, Any]:
    """Everything that results.json says of a run."""

    def all_of(field):
        return {key: evaluation[field] for key, evaluation in evaluations.items()}

    test_pictures, test_seconds = sum(all_of("pictures").values()), sum(all_of("seconds").values())
    test_rate = test_pictures / test_seconds
    accuracy, zero_shot = all_of("accuracy"), all_of("zero_shot")
    results = {
        "method": config.method,
        "protocol": config.protocol,
        "ablation": config.ablation,
        "variant": config.variant,
        "backbone": config.backbone,
        "backbone_hash": backbone.fingerprint,
        "dataset": protocols.source_key(config),
        "split_source": plan.train.split_source,
        "shots": config.data.shots,
        "seed": config.seed,
        "accuracy": accuracy,
        "zero_shot": zero_shot,
        "per_iteration": all_of("per_iteration"),
        "classes": all_of("classes"),
        "pictures": {"train": len(plan.train.train)}
        | {f"test_{key}": number for key, number in all_of("pictures").items()},
        "split_sources": all_of("split_source"),
        "skipped_pictures": [f"{path}: {reason}" for path, reason in plan.bad],
        "images_per_second": trained.pictures / trained.seconds if trained.seconds else test_rate,
        "train_seconds": trained.seconds,
        "data_wait_share": trained.waiting / trained.seconds if trained.seconds else 0.0,
        "test_seconds": test_seconds,
        "test_images_per_second": test_rate,
        "git_commit": workdir.git_commit(),
        "config": training.as_json(config),
    }
    if config.protocol == "base_to_novel":
        results |= accuracy | {"h": harmonic_mean(accuracy["base"], accuracy["new"])}
        zero_shot["h"] = harmonic_mean(zero_shot["base"], zero_shot["new"])
    if config.backbone == "embedded" or config.data.name == "emoji_scenes":
        results["note"] = STAND_IN
    return results


def note_small_tower(settings: Any, layers: int) -> None:
    """Says so where a method asks for deeper vision prompts than the image tower is."""
    for field in ("vision_depth", "depth"):
        depth = getattr(settings, field, 0)
        if depth > layers:
            print(f"{field}={depth}: the image tower has {layers} layers, all of them get prompts")

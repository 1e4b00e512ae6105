"""A run before training: data, backbone, tasks, first prompts, everything checked."""

import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from data_pipelines import loader
from data_pipelines.errors import BadPicture, DataError
from data_pipelines.examples import Dataset
from data_pipelines.pictures import readers
from data_pipelines.reading import Batches
from experiments.record import workdir
from experiments.record.identity import as_json, identify, refuse_other_run
from experiments.run import building, overview, protocols, training
from experiments.run.features import FeatureMaker, read_options
from prompt_jax import methods
from prompt_jax.errors import PromptError
from prompt_jax.sharding import Placement

ZERO_SHOT = methods.get("zero_shot")


class Shots(NamedTuple):
    """What training reads.

    Attributes:
        batches: of pictures, or of features where those are kept.
        steps_per_epoch: for the schedule.
        features: float32[V, n, d] of the training pictures' views, where those are kept.
        labels: int32[n], theirs.
        described: how pictures become features, in words; "" where each step runs the image tower.
    """

    batches: Batches
    steps_per_epoch: int
    features: np.ndarray | None
    labels: np.ndarray
    described: str


@dataclasses.dataclass(frozen=True)
class Known:
    """A run whose backbone and data are there, before anything is computed.

    Attributes:
        began: when, by `time.perf_counter`.
        identity: what makes the run this one; see `identify`.
        hashes: of the data; see `protocols.hashes`.
    """

    config: ConfigDict
    folder: pathlib.Path
    began: float
    identity: dict[str, Any]
    hashes: dict[str, Any]
    backbone: building.Backbone
    method: methods.Method
    settings: Any
    plan: protocols.Plan
    placement: Placement

    @contextlib.contextmanager
    def listing_all_bad(self, dataset: Dataset | None = None) -> Iterator[None]:
        """Turns one picture that cannot be read into an error that lists all such of the run."""
        dataset = dataset or self.plan.train
        try:
            yield
        except BadPicture as bad:
            examples = protocols.used(self.plan, dataset)
            raise readers.all_bad_error(dataset, examples, bad) from bad


@dataclasses.dataclass(frozen=True)
class Prepared(Known):
    """A run before training, all of it checked.

    Attributes:
        task: what trains.
        tests: what is tested, by key: a task for each method of `compared`.
        compared: the method and, unless it is that, zero-shot CLIP.
        prompts: where training starts.
        trainable: how many numbers train.
        shots: what training reads; None where a method needs no training pictures.
        makes: computes image features of validation pictures.
    """

    task: methods.Task
    tests: dict[str, list[methods.Task]]
    compared: list[methods.Method]
    prompts: methods.Prompts
    trainable: int
    shots: Shots | None
    makes: FeatureMaker


def prepare(
    config: ConfigDict, folder: pathlib.Path, backbone: building.Backbone | None = None
) -> Prepared | dict[str, Any]:
    """Loads and checks all that a run needs; of a finished run, returns its results.

    Args:
        config: of the run.
        folder: of the run.
        backbone: the config's, where another run has loaded it already.
    """
    began = time.perf_counter()
    building.check(config)
    finished = workdir.read_results(folder)
    placement = Placement()
    if finished is None:
        for field in ("batch_size", "eval_batch_size"):
            placement.check(field, config[field])
    method, settings = building.build_method(config)
    backbone = backbone or building.build_backbone(config)
    image_size = backbone.clip.config.image_size
    try:
        plan = protocols.build(config, image_size, method.tune is not None)
    except DataError as error:
        if finished is None:
            raise
        here = identify(as_json(config), backbone.fingerprint, finished["data_hashes"])
        refuse_other(folder, config, here, finished)
        print(f"finished before, not compared with the data: {str(error).splitlines()[0]}")
        return finished
    hashes = protocols.hashes(plan)
    identity = identify(as_json(config), backbone.fingerprint, hashes)
    if finished is not None:
        refuse_other(folder, config, identity, finished)
        if wanted(config) <= set(finished["accuracy"]):
            print(f"finished before: {folder / 'results.json'}")
            return finished
    plan = protocols.check_pictures(config, plan)
    backbone = backbone._replace(frozen=placement.replicate(backbone.frozen))
    workdir.lock_workdir(folder, identity)
    with workdir.giving_back(folder):
        run = _complete(
            Known(
                config=config,
                folder=folder,
                began=began,
                identity=identity,
                hashes=hashes,
                backbone=backbone,
                method=method,
                settings=settings,
                plan=plan,
                placement=placement,
            )
        )
        # Only now: a run that is refused leaves the folder to the corrected one.
        workdir.claim_workdir(folder, identity)
    return run


def _complete(run: Known) -> Prepared:
    """The run with its tasks and first prompts, and with them the rest of the checks."""
    clip, frozen, plan = run.backbone.clip, run.backbone.frozen, run.plan
    note_small_tower(run.settings, clip.config.image_layers)
    known = plan.train.class_names

    def make_task(tested: methods.Method, chosen: Any, dataset: Dataset) -> methods.Task:
        names = dataset.class_names
        index = trained_index(known, names)
        made = methods.make_task(tested, clip, frozen, names, chosen, dataset.template, index)
        return run.placement.replicate(made)

    # Made before training: a task that the method cannot be tested on is refused early.
    task = make_task(run.method, run.settings, plan.train)
    compared = {run.method: run.settings}
    compared.setdefault(ZERO_SHOT, ZERO_SHOT.Settings())
    tests = {
        key: [make_task(tested, chosen, dataset) for tested, chosen in compared.items()]
        for key, dataset in plan.tests.items()
    }
    prompts = jax.jit(run.method.init)(jax.random.key(run.config.seed), task)
    trainable = training.count_trainable(run.method, prompts, run.settings)
    needs_shots = trainable > 0 or run.method.from_shots is not None
    protocols.refuse_empty(plan, needs_shots)
    overview.show(plan, run.config.data.shots, needs_shots)
    prepared = Prepared(
        **vars(run),
        task=task,
        tests=tests,
        compared=list(compared),
        prompts=prompts,
        trainable=trainable,
        shots=None,
        makes=FeatureMaker(clip, frozen, run.config, run.placement),
    )
    return _with_shots(prepared) if needs_shots else prepared


def _with_shots(run: Prepared) -> Prepared:
    """The run with its training pictures, and with prompts that are made from them."""
    image_size = run.backbone.clip.config.image_size
    with run.listing_all_bad():
        shots = prepare_shots(run.config, run.plan.train, image_size, run.makes, run.placement)
    prompts, trainable = run.prompts, run.trainable
    if run.method.from_shots and shots.features is not None:
        prompts = run.method.from_shots(prompts, run.task, shots.features, shots.labels)
        trainable = training.count_trainable(run.method, prompts, run.task.settings)
    return dataclasses.replace(run, shots=shots, prompts=prompts, trainable=trainable)


def wanted(config: ConfigDict) -> set[str]:
    """The targets that a finished run must have been tested on."""
    is_transfer = config.protocol in protocols.WITH_TARGETS
    return set(protocols.split_names(config.data.names)) if is_transfer else set()


def refuse_other(
    folder: pathlib.Path, config: ConfigDict, here: dict[str, Any], finished: dict[str, Any]
) -> None:
    """Raises a PromptError if `finished` are another run's results, or lack pictures."""
    pictures, left_out = finished["data_hashes"], len(finished["skipped_pictures"])
    if left_out:  # and mended since, perhaps
        pictures = pictures | {"sizes": None}
    there = identify(finished["config"], finished["backbone_hash"], pictures)
    refuse_other_run(folder, here, there)
    if left_out and config.data.on_bad_image == "stop":
        raise PromptError(
            f"{folder} holds a finished run that left out {left_out} unreadable pictures; delete "
            "it to run again with all of them, or say --config.data.on_bad_image=skip to keep it"
        )


def trained_index(known: tuple[str, ...], names: tuple[str, ...]) -> list[int]:
    """Which of the classes trained on each class is, by name; `methods.UNSEEN` for another one."""
    if names == known:
        return list(range(len(known)))
    position = {name: label for label, name in enumerate(known)}
    return [position.get(name, methods.UNSEEN) for name in names]


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


def note_small_tower(settings: Any, layers: int) -> None:
    """Says so where a method asks for deeper vision prompts than the image tower is."""
    for field in ("vision_depth", "depth"):
        depth = getattr(settings, field, 0)
        if depth > layers:
            print(f"{field}={depth}: the image tower has {layers} layers, all of them get prompts")

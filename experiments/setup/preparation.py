"""Prepares a run for training: `load`, then `finished`; an unfinished run goes to `prepare`."""

import dataclasses
import functools
import pathlib
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from data_pipelines import datasets
from data_pipelines.errors import DataError, shorten
from data_pipelines.examples import Dataset, Example
from data_pipelines.layouts import automatic
from experiments.config.config import Config
from experiments.record import agreement, workdir
from experiments.record.identity import as_json, identify, refuse_other_results
from experiments.setup import building, overview, plans, preprocessing, protocols, starting, titles
from experiments.setup.batches import PairBatches
from experiments.setup.features import FeatureMaker
from experiments.setup.plans import Plan
from experiments.setup.tasks import make_task, make_tests
from prompt_jax import methods
from prompt_jax.cli import hosts
from prompt_jax.clip.captions import Captions, tokenize_captions
from prompt_jax.inputs.images.preprocessing import Preprocessing
from prompt_jax.inputs.training_batches import TrainingBatches
from prompt_jax.models import saved
from prompt_jax.models.saved import Saved
from prompt_jax.storage.files import write_text
from prompt_jax.text.class_names import Classes
from prompt_jax.training import loop, recipes
from prompt_jax.training.sharding import Placement


class Shots(NamedTuple):
    """Training batches.

    Attributes:
        batches: images, videos with captions, or cached features.
        steps_per_epoch: for the schedule.
        features: cached features of the training images' views, float32[V, n, d], or of the
            frames of videos, float32[V, n, F, d]; None if they are not cached.
        labels: int32[n], labels of the training images.
        described: describes how image features are cached; "" if each step runs the image tower.
    """

    batches: TrainingBatches
    steps_per_epoch: int
    features: np.ndarray | None
    labels: np.ndarray
    described: str


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A run with its method and backbone; its data is read on first use.

    Attributes:
        folder: run directory.
        began: start time, by `time.perf_counter`.
        results: results in the directory, possibly of another run; None if there are none.
        start: the model that provides the initial prompts, if any.
        preprocessing: preprocessing of its images.
        notes: notes to print about the preprocessing.
    """

    config: Config
    folder: pathlib.Path
    began: float
    results: dict[str, Any] | None
    method: methods.Method
    settings: Any
    backbone: building.Backbone
    placement: Placement
    start: Saved | None
    preprocessing: Preprocessing
    notes: tuple[str, ...]

    @functools.cached_property
    def plan(self) -> Plan:
        """Returns the data of the run; raises a DataError if data is missing or malformed."""
        image_size = self.backbone.clip.config.image_size
        uses_validation = self.method.adaptation is not None
        share = self.placement.share
        return plans.build(self.config, image_size, uses_validation, self.preprocessing, share)

    def identity(self, images: dict[str, Any] | None) -> dict[str, Any]:
        """Returns the identity of the run; see `identify`."""
        start = saved.digest(self.start.prompts) if self.start else ""
        return identify(
            as_json(self.config),
            self.backbone.fingerprint,
            images,
            start,
            preprocessing.written(self.preprocessing, self.config.data),
        )


@dataclasses.dataclass(frozen=True)
class Testable:
    """A run that can be tested.

    Attributes:
        folder: run directory; results are written here.
        tests: for each test set, by key, one task per method of `compared`.
        compared: the method and zero-shot CLIP; only one if they are the same.
    """

    config: Config
    folder: pathlib.Path
    method: methods.Method
    backbone: building.Backbone
    plan: Plan
    placement: Placement
    tests: dict[str, list[methods.Task]]
    compared: list[methods.Method]


@dataclasses.dataclass(frozen=True)
class Prepared(Testable):
    """A checked run, ready for training.

    Attributes:
        began: start time, by `time.perf_counter`.
        identity: see `identify`.
        task: training task.
        start: the model that provides the initial prompts, if any.
        prompts: initial prompts.
        trainable: number of trainable parameters.
        shots: training batches; None if the method needs no training images.
        makes: computes image features of training and validation images.
    """

    began: float
    identity: dict[str, Any]
    task: methods.Task
    start: Saved | None
    prompts: methods.Prompts
    trainable: int
    shots: Shots | None
    makes: FeatureMaker


def load(
    config: ConfigDict | Config,
    folder: pathlib.Path,
    backbone: building.Backbone | None = None,
    prepared: Preprocessing | None = None,
) -> Loaded:
    """Checks a config and loads its backbone.

    Args:
        config: config of the run.
        folder: run directory.
        backbone: the config's backbone, if it is already loaded.
        prepared: preprocessing of the images, if it is known.
    """
    began = time.perf_counter()
    config = building.check(config)
    results = workdir.read_results(folder)
    placement = building.make_placement(config)
    if results is None:
        for field in ("batch_size", "eval_batch_size"):
            placement.check(field, getattr(config, field))
    method, settings = building.build_method(config)
    start = starting.read(config, method)
    # Earlier versions assumed "gelu" for a bare state dict; their runs must resume.
    activation = "gelu" if workdir.is_begun(folder) else None
    backbone = backbone or building.build_backbone(config, activation)
    if start:
        starting.check_backbone(config, start, backbone.fingerprint)
        saved.check_sizes(start, backbone.clip.config, config.backbone)
    notes: list[str] = []
    if prepared is None:
        size = backbone.clip.config.image_size
        prepared, notes = preprocessing.resolve(config, backbone.declared, size)
        notes += starting.preprocessing_notes(start, prepared)
    return Loaded(
        config,
        folder,
        began,
        results,
        method,
        settings,
        backbone,
        placement,
        start,
        prepared,
        tuple(notes),
    )


def finished(run: Loaded) -> dict[str, Any] | None:
    """Returns the results of a finished run, None if training or tests remain.

    Raises:
        PromptError: the directory holds results of another run, or of other images.
    """
    if run.results is None:
        return None
    try:
        plan = run.plan
    except DataError as error:
        refuse_other_results(run.folder, run.identity(None), run.results)
        asked = protocols.split_names(run.config.data.names)
        if not {titles.title_of(run.config.data, key) for key in asked} <= set(
            run.results["accuracy"]
        ):
            raise  # some targets have not been tested
        print(f"already finished, not compared with the data: {str(error).splitlines()[0]}")
        return run.results
    refuse_other_results(run.folder, run.identity(plan.hashes), run.results)
    if not set(plan.tests) <= set(run.results["accuracy"]):
        return None  # targets were added
    print(f"already finished: {run.folder / 'results.json'}")
    return run.results


def prepare(run: Loaded) -> Prepared:
    """Checks the data and creates tasks, initial prompts and training batches."""
    identity = run.identity(run.plan.hashes)
    plan = plans.check_images(run.plan, run.config.data.on_bad_image == "skip")
    agreement.check_run(identity, plan.train, plan.tests.values())
    workdir.lock_workdir(run.folder, identity)
    with workdir.giving_back(run.folder):
        prepared = with_tasks(run, plan, identity)
        needs_shots = prepared.trainable > 0 or run.method.adaptation is not None
        plans.refuse_empty(plan, needs_shots)
        shots = run.config.data.shots if run.config.protocol_spec.draws_shots else 0
        plan = overview.show(plan, shots, needs_shots)
        plan = overview.add_notes(plan, (*run.backbone.assumed, *run.notes))
        prepared = dataclasses.replace(prepared, plan=plan)
        plans.check_views(plan, run.config.data.views)
        if plan.by_captions:
            for dataset in plan.tests.values():
                tokenize(prepared, dataset, "test", dataset.test)
        if needs_shots:
            prepared = with_shots(prepared)
        # Last, so that a rejected run leaves the directory free for a corrected one.
        workdir.claim_workdir(run.folder, identity)
        agreement.check_directory(run.folder)
        write_splits(run.folder, plan)
    return prepared


def write_splits(folder: pathlib.Path, plan: Plan) -> None:
    """Writes automatic splits to split.csv, or to split_DOMAIN.csv for a domain."""
    for dataset in plan.auto_split if hosts.is_first() else ():
        _, domain = datasets.split_domain(dataset.name)
        name = f"split_{domain}.csv" if domain else "split.csv"
        write_text(folder / name, automatic.as_csv(dataset))


def with_tasks(run: Loaded, plan: Plan, identity: dict[str, Any]) -> Prepared:
    """Returns the run with its tasks and initial prompts, without training batches."""
    clip, frozen = run.backbone.clip, run.placement.put_frozen(run.backbone.frozen)
    backbone = run.backbone._replace(frozen=frozen)
    note_small_tower(run.settings, clip.config.image_layers)
    known = Classes(()) if run.method.objective == "pairs" else plan.train.classes
    # Made before training, so that a task that the method does not support fails early.
    task = make_task(run.method, run.settings, backbone, run.placement, plan.train, known)
    tests, compared = make_tests(
        run.config, run.method, run.settings, backbone, run.placement, plan.tests, known
    )
    if run.start:
        prompts = starting.initial_prompts(run.config, run.method, run.start, task, known)
    else:
        prompts = loop.init_prompts(run.method, task, run.config.seed)
    if methods.outside.is_outside(run.config.method) and run.method.objective != "pairs":
        images = np.zeros((2, *plan.batches.inputs.shape), np.float32)
        for each in (task, *(tested[0] for tested in tests.values())):
            methods.outside.check_logits(run.config.method, run.method, prompts, each, images)
    return Prepared(
        config=run.config,
        folder=run.folder,
        began=run.began,
        identity=identity,
        method=run.method,
        backbone=backbone,
        plan=plan,
        placement=run.placement,
        task=task,
        tests=tests,
        compared=compared,
        start=run.start,
        prompts=prompts,
        trainable=recipes.count_trainable(run.method, prompts, run.settings),
        shots=None,
        makes=FeatureMaker(
            methods.tower_for(run.method, clip, plan.train.kind),
            frozen,
            plan.batches,
            run.placement,
        ),
    )


def with_shots(run: Prepared) -> Prepared:
    """Returns the run with training batches; computes prompts from images if the method does."""
    with run.plan.listing_all_bad():
        shots = prepare_shots(run)
    prompts, trainable = run.prompts, run.trainable
    if run.method.adaptation and shots.features is not None:
        prompts = run.method.adaptation.make(prompts, run.task, shots.features, shots.labels)
        trainable = recipes.count_trainable(run.method, prompts, run.task.settings)
    return dataclasses.replace(run, shots=shots, prompts=prompts, trainable=trainable)


def prepare_shots(run: Prepared) -> Shots:
    """Returns batches of the training images or videos, or of their cached features."""
    dataset, making, views = run.plan.train, run.plan.batches, run.config.cached_views
    number = making.train_examples(dataset)
    steps = making.train_steps(number)
    # With fewer images than a batch, all of them form one batch; devices must divide it.
    run.placement.check(f"training {dataset.kind}", min(number, making.batch_size))
    labels = np.array([example.label for example in dataset.train], np.int32)
    if run.method.objective == "pairs":
        tokens = tokenize(run, dataset, "training", dataset.train)
        pairs = PairBatches(making, dataset, tokens, run.placement.devices)
        return Shots(pairs, steps, None, labels, "")
    if not views:
        return Shots(making.train(dataset), steps, None, labels, "")
    features = run.makes.of_views(dataset, views)
    batches = making.features(features, labels)
    kept = "video's frames" if run.method.input == "frames" else "image"
    described = f"cached: {views} augmented view{'s' * (views > 1)} of each training {kept}"
    return Shots(batches, steps, features, labels, described)


def tokenize(run: Prepared, dataset: Dataset, role: str, examples: Sequence[Example]) -> Captions:
    """Returns the tokens of all captions of `examples`; prints how many are truncated."""
    encoders = methods.get_encoders(run.config.method)
    length = run.backbone.clip.config.context_length
    captions = [caption for example in examples for caption in example.captions]
    tokens = tokenize_captions(captions, encoders.text_prompts(run.task.settings), length)
    if tokens.cut:
        print(
            f"{dataset.name}: {len(tokens.cut):,} of {len(captions):,} {role} captions are "
            "too long for the text tower and are truncated, "
            f"e.g. {shorten(captions[tokens.cut[0]])}"
        )
    return tokens


def note_small_tower(settings: Any, layers: int) -> None:
    """Prints a note if a method's vision prompts are deeper than the image tower."""
    for field in ("vision_depth", "depth"):
        depth = getattr(settings, field, 0)
        if depth > layers:
            print(f"{field}={depth}: the image tower has {layers} layers; all get prompts")

"""Prepares a loaded run for training: checks its data, makes tasks, prompts and batches."""

import dataclasses
import pathlib
from typing import Any

import numpy as np

from data_pipelines import datasets
from data_pipelines.layouts import automatic
from experiments.config.config import Config
from experiments.record import agreement, workdir
from experiments.setup import building, overview, plans, starting
from experiments.setup.batches import check_views
from experiments.setup.loading import Loaded
from experiments.setup.plans import Plan
from experiments.setup.shots import FeatureMaker, Shots, make_shots, tokenize
from prompt_jax import methods
from prompt_jax.cli import hosts
from prompt_jax.errors import PromptError
from prompt_jax.methods.recipe import Labels
from prompt_jax.models.saved import Saved
from prompt_jax.storage.files import write_text
from prompt_jax.text.class_names import Classes
from prompt_jax.training import labeling, loop, recipes
from prompt_jax.training.labeling import Second
from prompt_jax.training.sharding import Placement


@dataclasses.dataclass(frozen=True)
class Testable:
    """A run that can be tested.

    Attributes:
        folder: run directory; results are written here.
        tests: for each test set, by key, one task per method of `compared`.
        compared: the method and zero-shot CLIP; only one if they are the same.
        temperature: number that the method's logits are divided by, see `evaluation.confidence`.
    """

    config: Config
    folder: pathlib.Path
    method: methods.Method
    backbone: building.Backbone
    plan: Plan
    placement: Placement
    tests: dict[str, list[methods.Task]]
    compared: list[methods.Method]
    temperature: float = dataclasses.field(default=1.0, kw_only=True)


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
        second: the second backbone, if the method labels training images by one.
        shots: training batches; None if the method needs no training images.
        makes: computes image features of training and validation images.
    """

    began: float
    identity: dict[str, Any]
    task: methods.Task
    start: Saved | None
    prompts: methods.Prompts
    trainable: int
    second: Second | None
    shots: Shots | None
    makes: FeatureMaker


def prepare(run: Loaded) -> Prepared:
    """Checks the data and creates tasks, initial prompts and training batches."""
    identity = run.identity(run.plan.hashes)
    plan = plans.check_images(run.plan, run.config.data.on_bad_image == "skip")
    agreement.check_run(identity, plan.train, plan.tests)
    run.placement.connect_hosts()
    workdir.lock_workdir(run.folder, identity)
    with workdir.release_on_error(run.folder):
        prepared = with_tasks(run, plan, identity)
        needs_shots = prepared.trainable > 0 or run.method.adaptation is not None
        if needs_shots and not (run.config.protocol_spec.reads_labels or run.method.labeling):
            raise PromptError(
                f"config.protocol={run.config.protocol}: {run.config.method} trains on labels, "
                "which this protocol withholds; use --config.protocol=few_shot"
            )
        plans.refuse_empty(plan, needs_shots)
        shots = run.config.data.shots if run.config.protocol_spec.draws_shots else 0
        plan = overview.show(plan, shots, needs_shots)
        plan = overview.add_notes(plan, (*run.backbone.assumed, *run.notes))
        prepared = dataclasses.replace(prepared, plan=plan)
        check_views(plan.tests.values(), run.config.data.views)
        if plan.by_captions:
            for dataset in plan.tests.values():
                tokenize(run.config.method, prepared.task, dataset, "test", dataset.test)
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
    made = run.method, run.settings, backbone, run.placement
    task = building.make_task(*made, plan.train, known, run.texts)
    tests, compared = building.make_tests(run.config, *made, plan.tests, known, run.texts)
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
        second=run.second,
        shots=None,
        makes=FeatureMaker(
            run.method,
            methods.tower_for(run.method, clip, plan.train.kind),
            frozen,
            plan.batches,
            run.placement,
        ),
    )


def with_shots(run: Prepared) -> Prepared:
    """Returns the run with training batches; computes prompts from images if the method does.

    If the method labels the training images itself, this adds notes on it to the plan.
    """
    with run.plan.listing_all_bad():
        plan, own = _own_labels(run)
        made = run.config, plan, run.method, run.task, run.makes, run.placement
        shots = make_shots(*made, own)
    prompts, trainable = run.prompts, run.trainable
    if run.method.adaptation and shots.features is not None:
        given = shots.features, shots.labels, *shots.captions
        prompts = run.method.adaptation.make(prompts, run.task, *given)
        trainable = recipes.count_trainable(run.method, prompts, run.task.settings)
    return dataclasses.replace(run, plan=plan, shots=shots, prompts=prompts, trainable=trainable)


def _own_labels(run: Prepared) -> tuple[Plan, Labels | None]:
    """Returns the labels that the method makes itself, if it does, and the plan with notes."""
    if run.second is None:
        return run.plan, None
    train, batches = run.plan.train, run.plan.batches
    found = labeling.label_images(
        run.method,
        run.task,
        run.second,
        batches.test(train, train.train),
        batches.test_steps(len(train.train)),
        batches.inputs,
        run.config.seed,
        run.placement,
    )
    notes = (*run.second.notes, *labeling.describe(found, train.class_names))
    return overview.add_notes(run.plan, notes), found


def note_small_tower(settings: Any, layers: int) -> None:
    """Prints a note if a method's vision prompts are deeper than the image tower."""
    for field in ("vision_depth", "depth"):
        depth = getattr(settings, field, 0)
        if depth > layers:
            print(f"{field}={depth}: the image tower has {layers} layers; all get prompts")

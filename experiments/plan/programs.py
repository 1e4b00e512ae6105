"""Builds the programs of a run on shapes alone: no data is read, and no CLIP weights are loaded."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from data_pipelines.scenes import CLASSES
from experiments.config.config import Config
from experiments.plan.targets import Target
from experiments.setup import building
from experiments.setup import loading as setup_loading
from experiments.setup.batches import make_batches
from prompt_jax import methods
from prompt_jax.clip import CLIP, VARIANTS, CLIPConfig, loading
from prompt_jax.clip.layers import scans
from prompt_jax.clip.memory import BUDGET_SHARE
from prompt_jax.clip.packing import pack_captions
from prompt_jax.clip.vocabulary.captions import tokenize_captions
from prompt_jax.evaluation import evaluate
from prompt_jax.evaluation.programs import compiled
from prompt_jax.methods import Method, Prompts, Task
from prompt_jax.methods.method import KEPT
from prompt_jax.text import class_texts
from prompt_jax.text.class_texts import Texts
from prompt_jax.training import labeling, recipes, train
from prompt_jax.training.sharding import Placement, parse_mesh

# A recipe's schedule needs a number; the program does not depend on it.
STEPS_PER_EPOCH = 100
KINDS = ("weights", "classes", "prompts", "optimizer", "batch")


class Built(NamedTuple):
    """A program with its arguments.

    Attributes:
        function: a jitted function.
        arguments: pytrees of `ShapeDtypeStruct` with shardings.
        held: bytes per device of what the run holds while it runs, by `KINDS`.
        images: images or videos that one run processes.
    """

    function: Any
    arguments: tuple[Any, ...]
    held: dict[str, int]
    images: int


@dataclasses.dataclass(frozen=True)
class Run:
    """A run without weights and data: its pytrees hold shapes.

    Attributes:
        config: the run's config.
        classes: number of classes K.
        placement: of arrays on the target's devices.
        method, settings, task, prompts: see `experiments.setup`.
        shape: sizes of a training image or video.
        test_shape: sizes of a test image or video.
    """

    config: Config
    classes: int
    placement: Placement
    method: Method
    settings: Any
    task: Task
    prompts: Prompts
    shape: tuple[int, ...]
    test_shape: tuple[int, ...]

    @property
    def trains(self) -> bool:
        """Returns whether the method has a training step."""
        return recipes.count_trainable(self.method, self.prompts, self.settings) > 0


def describe(
    config: Config, sizes: CLIPConfig, target: Target, devices: Sequence[Any], classes: int
) -> Run:
    """Returns the run of a config on the devices of a target.

    Args:
        config: config of one run.
        sizes: architecture of its backbone.
        target: the machine.
        devices: its devices, see `Target.find_devices`.
        classes: number of classes; ignored for retrieval.

    Raises:
        PromptError: the config is invalid, or the batch does not divide among the devices.
    """
    config = building.check(config)
    placement = Placement(parse_mesh(config.mesh, devices, "--mesh"), config.shard_frozen)
    for field in ("batch_size", "eval_batch_size"):
        placement.check(field, getattr(config, field))
    method, settings = building.build_method(config)
    clip = make_clip(config, sizes, target, placement.mesh)
    kind = "videos" if config.data.on_videos else "images"
    tower = methods.tower_for(method, clip, kind)
    names = [] if method.objective == "pairs" else class_names(classes)

    texts = read_texts(config, method, names)

    def make_task(frozen):
        return methods.make_task(method, tower, frozen, names, settings, texts=texts)

    def init(rng):
        return clip.arrange(clip.init(rng), exact=method.copies_weights)

    task = jax.eval_shape(make_task, jax.eval_shape(init, jax.random.key(0)))
    prompts = jax.eval_shape(method.init, jax.random.key(0), task)
    batches = make_batches(config, clip.config.image_size, kind)
    if method.adaptation:
        labels = np.arange(max(1, config.data.shots) * classes) % classes
        width = (clip.config.embed_dim,)
        features = jax.ShapeDtypeStruct((config.cached_views, len(labels), *width), jnp.float32)
        captions = features.update(shape=features.shape[1:])
        more = (captions,) if method.adaptation.captions else ()
        make = method.adaptation.make
        prompts = jax.eval_shape(
            lambda p, t, f, *more: make(p, t, f, labels, *more), prompts, task, features, *more
        )
    shapes = batches.train_inputs.shape, batches.inputs.shape
    return Run(config, classes, placement, method, settings, task, prompts, *shapes)


def make_clip(config: Config, sizes: CLIPConfig, target: Target, mesh: Mesh) -> CLIP:
    """Returns the config's CLIP for a target: with the memory budget that it would have there."""
    memory = math.ceil(config.memory_gb * 1e9) or int(BUDGET_SHARE * target.memory)
    scan = scans(target.chip.platform) if config.layers == "auto" else config.layers == "scan"
    clip = building.make_clip(config, sizes, mesh)
    return dataclasses.replace(clip, memory=memory, scan_layers=scan)


def read_sizes(config: Config) -> CLIPConfig:
    """Returns the sizes of the config's backbone; loads weights only of files."""
    if config.backbone in VARIANTS:
        sizes = VARIANTS[config.backbone]
        return dataclasses.replace(sizes, activation=config.activation or sizes.activation)
    return loading.load(config.backbone, config.activation or None)[0]


def read_texts(config: Config, method: Method, names: Sequence[str]) -> Texts | None:
    """Returns the run's factors, which fit any classes, and made-up texts of another kind.

    Raises:
        PromptError: see `loading.read_texts`; for factors alone.
    """
    if makes_up_texts(method):
        return class_texts.stand_in(method.texts, names)
    return setup_loading.read_texts(config, method) if method.texts else None


def makes_up_texts(method: Method) -> bool:
    """Returns whether plans make up the method's texts; those of a run are of its own classes."""
    return method.texts not in ("", class_texts.FACTORS)


def class_names(number: int) -> list[str]:
    """Returns different class names of two to four words."""
    words = sorted(CLASSES)
    return [
        f"{words[place % len(words)]} {words[place // len(words) % len(words)]}"
        for place in range(number)
    ]


def captions(number: int) -> list[str]:
    """Returns captions of 8 to 20 words."""
    words = [word for name in sorted(CLASSES) for word in name.split()]
    return [
        " ".join(words[(7 * row + place) % len(words)] for place in range(8 + row % 13))
        for row in range(number)
    ]


def build(run: Run) -> Iterator[tuple[str, Callable[[], Built]]]:
    """Yields the run's programs by name, each as a function that builds it."""
    if run.trains:
        yield "training step", lambda: training(run)
    if run.method.labeling:
        yield "labels", lambda: making_labels(run)
    if run.config.cached_views:
        yield "image features", lambda: looking(run)
    if run.method.objective == "pairs":
        yield "captions", lambda: encoding_texts(run)
        yield "videos", lambda: encoding_videos(run)
        return
    yield "classes", lambda: preparing(run)
    yield "evaluation", lambda: judging(run)


def training(run: Run) -> Built:
    """Returns the training step."""
    optimizer = recipes.build_optimizer(
        run.config.recipe, run.method, run.prompts, run.settings, STEPS_PER_EPOCH
    )
    state = jax.eval_shape(lambda prompts: train.init_state(prompts, optimizer), run.prompts)
    state, batch = everywhere(run, state), split(run, training_batch(run))
    held = held_bytes(run, batch) | {"optimizer": bytes_of(state.optimizer)}
    arguments = (state, everywhere(run, run.task), batch)
    return Built(train.make_step(run.method, optimizer), arguments, held, run.config.batch_size)


def training_batch(run: Run) -> dict[str, Any]:
    """Returns the shapes of a training batch."""
    config, size = run.config, run.config.batch_size
    seen = feature_shape(run) if config.cached_views else run.shape
    views = (len(run.method.views),) if run.method.views else ()
    batch: dict[str, Any] = {
        "image": array((size, *views, *seen)),
        "label": array((size,), jnp.int32),
    }
    if run.method.objective == "pairs":
        batch["text"] = packed_captions(run, size)
    elif config.data.mix:
        batch["targets"] = array((size, run.classes))
    return batch


def feature_shape(run: Run) -> tuple[int, ...]:
    """Returns the shape of an image's or video's cached features."""
    encode = functools.partial(methods.find_encoder(run.method), run.task.clip)
    return jax.eval_shape(encode, run.task.frozen, array((1, *run.shape))).shape[1:]


def packed_captions(run: Run, number: int) -> Any:
    """Returns the shapes of a batch of captions."""
    encoders = methods.get_encoders(run.config.method)
    length = run.task.clip.config.context_length
    tokens = tokenize_captions(captions(number), encoders.text_prompts(run.settings), length).tokens
    packed = pack_captions(tokens, run.placement.devices)
    return jax.tree.map(lambda leaf: array(leaf.shape, leaf.dtype), packed)


def looking(run: Run) -> Built:
    """Returns the image tower's program for features that are cached."""
    views = (len(run.method.views),) if run.method.views else ()
    images = split(run, array((run.config.eval_batch_size, *views, *run.shape)))
    function = jax.jit(functools.partial(methods.find_encoder(run.method), run.task.clip))
    frozen = everywhere(run, run.task).frozen
    held = held_bytes(run, images)
    return Built(function, (frozen, images), held, run.config.eval_batch_size)


def making_labels(run: Run) -> Built:
    """Returns the program of both backbones' features, by which training images are labeled."""
    clip, size = run.task.clip, run.config.eval_batch_size
    second = labeling.read_second(run.config.second_backbone, clip)
    inputs = make_batches(run.config, clip.config.image_size, "images").inputs
    function = labeling.make_encoder(run.method, run.task, second.tower, inputs)
    weights = everywhere(run, jax.eval_shape(lambda: second.frozen))
    images = split(run, array((size, *run.test_shape)))
    held = held_bytes(run, images)
    held["weights"] += bytes_of(weights)
    return Built(function, ((everywhere(run, run.task).frozen, weights), images), held, size)


def preparing(run: Run) -> Built:
    """Returns the program that encodes the classes once for all test images."""
    arguments = everywhere(run, run.prompts), everywhere(run, run.task)
    return Built(compiled(run.method.prepare), arguments, held_bytes(run), 0)


def judging(run: Run) -> Built:
    """Returns the program that evaluates a batch of test images, with the image tower's."""
    config, method = run.config, run.method
    images = array((config.eval_batch_size, *run.test_shape))
    labels = array((config.eval_batch_size,), jnp.int32)
    views = make_batches(config, run.task.clip.config.image_size, "images").test_views
    prepared = jax.eval_shape(method.prepare, run.prompts, run.task)
    score = evaluate.compiled_score(method, views)

    def whole(prompts, prepared, task, images, labels):
        seen = methods.encode_input(method, task, images) if method.input in KEPT else images
        return score(prompts, prepared, task, seen, labels)

    replicated = everywhere(run, (run.prompts, prepared, run.task))
    batch = split(run, (images, labels))
    held = held_bytes(run, batch)
    return Built(jax.jit(whole), (*replicated, *batch), held, config.eval_batch_size)


def encoding_texts(run: Run) -> Built:
    """Returns the program that encodes a batch of captions for retrieval."""
    texts = split(run, packed_captions(run, run.config.eval_batch_size))
    encoders = methods.get_encoders(run.config.method)
    arguments = (everywhere(run, run.prompts), everywhere(run, run.task), texts)
    return Built(compiled(encoders.encode_texts), arguments, held_bytes(run, texts), 0)


def encoding_videos(run: Run) -> Built:
    """Returns the program that encodes a batch of videos for retrieval."""
    size = run.config.eval_batch_size
    videos = split(run, array((size, *run.test_shape)))
    encoders = methods.get_encoders(run.config.method)
    arguments = (everywhere(run, run.prompts), everywhere(run, run.task), videos)
    return Built(compiled(encoders.encode_videos), arguments, held_bytes(run, videos), size)


def array(shape: Sequence[int], dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
    """Returns an array's shape."""
    return jax.ShapeDtypeStruct(tuple(shape), dtype)


def everywhere(run: Run, tree: Any) -> Any:
    """Returns the shapes of a task as it is placed, or else replicated over the devices."""
    if isinstance(tree, Task):
        return placed(tree, run.placement.of_task(tree))
    return placed(tree, jax.tree.map(lambda _: run.placement.replicated, tree))


def split(run: Run, tree: Any) -> Any:
    """Returns shapes whose first axis is split over the devices."""
    return placed(tree, run.placement.of_batch(tree))


def placed(tree: Any, shardings: Any) -> Any:
    """Returns shapes with their shardings, a tree like `tree`."""

    def place(leaf: Any, sharding: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    return jax.tree.map(place, tree, shardings)


def held_bytes(run: Run, batch: Any = None) -> dict[str, int]:
    """Returns the bytes per device of what a run holds, by `KINDS`."""
    task = everywhere(run, run.task)
    weights = bytes_of(task.frozen)
    return {
        "weights": weights,
        "classes": bytes_of(task) - weights,
        "prompts": bytes_of(everywhere(run, run.prompts)),
        "optimizer": 0,
        "batch": bytes_of(batch),
    }


def bytes_of(tree: Any) -> int:
    """Returns the bytes per device of placed shapes."""
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(tree)
    )

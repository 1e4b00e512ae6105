"""`fit`: trains a method on images and labels, without configs, folders or commands."""

import dataclasses
import functools
import itertools
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from prompt_jax import methods
from prompt_jax.cli import progress
from prompt_jax.errors import PromptError, unknown
from prompt_jax.inputs import digests, given
from prompt_jax.inputs.batching import read_ahead
from prompt_jax.inputs.given import Inputs
from prompt_jax.inputs.images.transforms import train_transform
from prompt_jax.inputs.videos import sampling
from prompt_jax.inputs.videos import transforms as videos
from prompt_jax.methods import Method, Prompts, Task, selection
from prompt_jax.methods.method import KEPT
from prompt_jax.methods.recipe import Recipe
from prompt_jax.models import loading
from prompt_jax.models.model import Model
from prompt_jax.text.labels import number_labels
from prompt_jax.training import recipes, train
from prompt_jax.training.sharding import Placement

Batch = dict[str, np.ndarray]
FEATURES_AT_ONCE = 64
LOG_EVERY = 20


def fit(
    method: str,
    backbone: str | os.PathLike | Model,
    images: Any,
    labels: Sequence[int] | Sequence[str] | np.ndarray,
    names: Sequence[str] | None = None,
    *,
    template: str | None = None,
    settings: Mapping[str, Any] | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    frames: int = 0,
    flip: bool = True,
    seed: int = 1,
) -> Model:
    """Trains a method's prompts on labelled images or videos; the backbone stays as it is.

    Images are cropped and mirrored at random as published; normalised arrays are taken as they
    are. What is not given is the method's published recipe (`recipes.find`).

    Args:
        method: a name from the tables of methods.
        backbone: what `load` takes, or what it gave.
        images: P images or videos, see `inputs.given`.
        labels: P of them, numbers from 0 or names.
        names: K class names; None for the names among `labels`, sorted.
        template: the text of a class, "{}" for its name; None for the backbone's.
        settings: fields of the method's `Settings` that are not to have their published values.
        epochs, batch_size, learning_rate: in place of the recipe's.
        frames: 0 for images; of videos how many frames are looked at.
        flip: whether images are mirrored at random; not where left and right matter.
        seed: of the start, order and augmentation.

    Returns:
        the trained model; `Model.save` keeps it.

    Raises:
        BadImage: a file cannot be read.
        PromptError: what was given does not fit together, or training diverged.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise PromptError(f"seed={seed!r} must be a whole number from 0 to 2^32 - 1")
    base = _backbone(backbone, frames)
    items = given.as_items(images, base.inputs)
    numbers, class_names = number_labels(labels, names, len(items))
    recipe = _recipe(method, epochs, batch_size, learning_rate)
    found = methods.find(method, f"{base.inputs.kind}s")
    chosen = _settings(method, found, {**recipe.settings, **_mapping(settings)}, base.inputs)
    text = base.template if template is None else template
    if text.count("{}") != 1:
        raise PromptError(f'template={text!r} must contain "{{}}" once, for the class name')
    clip = methods.tower_for(found, base.clip, f"{base.inputs.kind}s")
    task = methods.make_task(found, clip, base.frozen, class_names, chosen, text)
    shots = _Shots(items, numbers, base.inputs, flip, seed)
    prompts = _train(method, found, recipe, Placement().replicate(task), shots)
    return dataclasses.replace(
        base,
        name=method,
        method=found,
        settings=chosen,
        prompts=prompts,
        class_names=class_names,
        template=text,
        trained={
            "pictures": len(items),
            "epochs": recipe.epochs,
            "batch_size": recipe.batch_size,
            "learning_rate": recipe.learning_rate,
            "seed": seed,
            "config": {
                **recipes.as_config(recipe, chosen),
                "pictures": digests.digest(items, [class_names[number] for number in numbers]),
                "template": text,
                "flip": flip,
            },
        },
        _tasks={},
    )


def _backbone(backbone, frames):
    base = backbone if isinstance(backbone, Model) else loading.load(backbone, frames=frames)
    if base.prompts or base.name != "zero_shot":
        raise PromptError(f"{base} is trained already; fit takes a bare backbone")
    if base.inputs.frames != frames:
        raise PromptError(
            f"frames={frames}, and the backbone was loaded for frames={base.inputs.frames}; give "
            "both the same"
        )
    return base


def _recipe(method, epochs, batch_size, learning_rate) -> Recipe:
    asked = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    asked = {field: value for field, value in asked.items() if value is not None}
    for field, value in asked.items():
        kinds = int | float if field == "learning_rate" else int
        if not isinstance(value, kinds) or isinstance(value, bool) or not 0 < value < math.inf:
            whole = "" if field == "learning_rate" else "whole "
            raise PromptError(f"{field}={value!r} must be a {whole}number above 0")
    return dataclasses.replace(recipes.find(method), **asked)


def _mapping(settings):
    if settings is not None and not isinstance(settings, Mapping):
        raise PromptError(f"settings={settings!r} must be a dict of field and value, or None")
    return settings or {}


def _settings(name: str, method: Method, asked: Mapping[str, Any], inputs: Inputs) -> Any:
    usual = dataclasses.asdict(method.Settings())
    for field, value in asked.items():
        if field not in usual:
            raise unknown(f"setting of {name}", field, usual)
        kind = type(usual[field])
        if not isinstance(value, int | float if kind is float else kind) or (
            isinstance(value, bool) and kind is not bool
        ):
            raise PromptError(
                f"settings: {field}={value!r} is of type {type(value).__name__}; it must be of "
                f"{kind.__name__}"
            )
    if inputs.frames and "frames" in usual:
        asked = {"frames": inputs.frames, **asked}
    settings = method.Settings(**asked)
    methods.check_bounds(settings)
    return settings


@dataclasses.dataclass(frozen=True)
class _Shots:
    """The training images or videos, and how they are read."""

    items: Sequence[Any]
    labels: np.ndarray
    inputs: Inputs
    flip: bool
    seed: int

    def augmented(self, place: int, draw: int, out: np.ndarray) -> None:
        """Writes an image, cropped at random by draw number so and so, to `out`."""
        item, size = self.items[place], self.inputs.image_size
        if given.is_float(item):
            out[...] = given.checked(item, self.inputs)
            return
        rng = np.random.default_rng((self.seed, draw, place))
        how = self.inputs.preprocessing
        if not self.inputs.frames:
            image = given.decode(item, self.inputs)
            train_transform(image, size, rng, out, flip=self.flip, preprocessing=how)
            return
        video = given.open_video(item, self.inputs)
        wanted = self.inputs.frames
        chosen = sampling.choose("segment", video.count, wanted, video.rate, rng).tolist()
        videos.train_transform(video.frames(chosen), size, rng, out, self.flip, how)

    def steps(self, batch_size: int) -> int:
        """Batches of an epoch; what is left of it is dropped."""
        return max(1, len(self.items) // batch_size)

    def order(self, batch_size: int) -> Iterator[tuple[int, np.ndarray]]:
        """Endless (epoch, places int[B])."""
        for epoch in itertools.count():
            places = np.random.default_rng((self.seed, epoch)).permutation(len(self.items))
            for step in range(self.steps(batch_size)):
                yield epoch, places[step * batch_size : (step + 1) * batch_size]

    def batches(self, asked: Iterator[tuple[int, np.ndarray]]) -> Iterator[Batch]:
        """The batches asked for, two read ahead in threads."""

        def ask(one: tuple[int, np.ndarray]) -> tuple[np.ndarray, list[Callable[[], None]]]:
            draw, places = one
            image = np.empty((len(places), *self.inputs.shape), np.float32)
            pairs = zip(places, image, strict=True)
            return image, [functools.partial(self.augmented, int(k), draw, out) for k, out in pairs]

        for (_, places), image, jobs in read_ahead(asked, ask):
            for job in jobs:
                job.result()
            yield {"image": image, "label": self.labels[places]}


def _train(name: str, method: Method, recipe: Recipe, task: Task, shots: _Shots) -> Prompts:
    start = jax.jit(method.init)(jax.random.key(shots.seed), task)
    if not recipe.cached_views or method.sees not in KEPT:
        if not recipes.count_trainable(method, start, task.settings):
            return start
        size = min(recipe.batch_size, len(shots.items))
        batches = shots.batches(shots.order(size))
        return _steps(name, method, recipe, task, start, batches, shots.steps(size))
    features = _features(method, task, shots, recipe.cached_views)

    def fit_part(features, labels):
        return _fit_features(name, method, recipe, task, features, labels, shots.seed)

    prompts = fit_part(features, shots.labels)
    if method.tune is None or method.tune(prompts, task, [])[1] is None:
        return prompts
    held_out = selection.hold_out_shots(fit_part, features, shots.labels)
    prompts, choice = method.tune(prompts, task, held_out)
    print(f"{name}: {choice}")
    return prompts


def _fit_features(name, method, recipe, task, features, labels, seed):
    """Prompts made from, and trained on, kept features float32[V, n, …]."""
    prompts = jax.jit(method.init)(jax.random.key(seed), task)
    if method.from_shots:
        prompts = method.from_shots(prompts, task, features, labels)
    if not recipes.count_trainable(method, prompts, task.settings):
        return prompts
    size = min(recipe.batch_size, len(labels))
    order = _Shots(labels, labels, Inputs.of(1), False, seed)
    batches = (
        {"image": features[epoch % len(features), places], "label": labels[places]}
        for epoch, places in order.order(size)
    )
    return _steps(name, method, recipe, task, prompts, batches, order.steps(size))


def _features(method: Method, task: Task, shots: _Shots, views: int) -> np.ndarray:
    """Frozen features of augmented views, float32[V, n, d]; of frames [V, n, F, d]."""
    look = jax.jit(methods.look, static_argnums=0)
    number = len(shots.items)
    starts = range(0, number, FEATURES_AT_ONCE)
    asked = [
        (view, np.arange(start, min(start + FEATURES_AT_ONCE, number)))
        for view in range(views)
        for start in starts
    ]
    found = []
    with progress.bar(f"features of {views} views", len(asked)) as advance:
        for done, batch in enumerate(shots.batches(iter(asked)), 1):
            found.append(np.asarray(look(method, task, batch["image"]), np.float32))
            advance(done, "")
    rows = np.concatenate(found)
    return rows.reshape(views, number, *rows.shape[1:])


def _steps(
    name: str,
    method: Method,
    recipe: Recipe,
    task: Task,
    prompts: Prompts,
    batches: Iterator[Batch],
    steps_per_epoch: int,
) -> Prompts:
    optimizer, _ = recipes.build_optimizer(recipe, method, prompts, task.settings, steps_per_epoch)
    step = train.make_step(method, optimizer)
    placement, total = Placement(), recipe.epochs * steps_per_epoch
    state = placement.replicate(train.init_state(prompts, optimizer))
    put: Callable[[Batch], Any] | None = None
    with progress.bar(f"training {name}", total) as advance:
        for number, batch in zip(range(1, total + 1), batches, strict=False):
            if put is None:
                even = len(batch["label"]) % placement.devices == 0
                put = placement.split if even else placement.replicate
            state, metrics = step(state, task, put(batch))
            if number % LOG_EVERY == 0 or number == total:
                _refuse_diverged(metrics, recipe)
                advance(number, f"loss {float(metrics['loss']):.3f}")
    return train.result(method, state)


def _refuse_diverged(metrics, recipe):
    if step := int(metrics["diverged"]):
        raise PromptError(
            f"training diverged at step {step}: its loss, prompts or optimizer state are no finite "
            f"numbers any more; lower learning_rate={recipe.learning_rate:g}"
        )

"""What a prompt method is: pure functions over a small trainable pytree."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from prompt_jax.clip import CLIP, Frozen, normalize
from prompt_jax.clip.packing import PackedTokens
from prompt_jax.errors import PromptError, shorten
from prompt_jax.methods.bounds import find_beyond
from prompt_jax.methods.selection import Choice, HeldOut
from prompt_jax.prompts import (
    PHOTO,
    ClassTokens,
    encode_templates,
    no_classes,
    tokenize_classes,
)
from prompt_jax.text.class_names import AMBIGUOUS, UNSEEN, Classes, find

Prompts = Any
"""The trainable pytree of a method; an empty dict where nothing trains."""

Array = jax.Array | np.ndarray

MakeOptimizer = Callable[
    [optax.GradientTransformation, Any, int, int], optax.GradientTransformation
]

KEPT = ("features", "frames")
"""What of an image or video, by `Method.input`, can be computed once and kept."""


@flax.struct.dataclass
class Task:
    """What a method works on. A pytree: the arrays are traced, clip and settings are static.

    Attributes:
        frozen: CLIP's parameters.
        names: the classes behind a learned context, "{}.", the column of SOS computed.
        trained: int32[K], which of the classes that the prompts are trained on each class is;
            `UNSEEN` for another one.
        constants: what the method's `constants` computed, once.
        clip: the backbone without its parameters.
        settings: the method's `Settings`.
    """

    frozen: Frozen
    names: ClassTokens
    trained: jax.Array
    constants: Any
    clip: CLIP = flax.struct.field(pytree_node=False)
    settings: Any = flax.struct.field(pytree_node=False)

    @property
    def scale(self) -> jax.Array:
        """1/τ, what cosines are multiplied by."""
        return jnp.exp(self.frozen["logit_scale"].astype(jnp.float32))


@flax.struct.dataclass
class Output:
    """What a method says of a batch.

    Attributes:
        logits: float32[iterations, B, K]; the last is the prediction.
        weights: the weight of each iteration's cross-entropy in the loss, one per iteration.
        losses: further terms of the loss by name, float32 scalars, already weighted.
    """

    logits: jax.Array
    weights: tuple[float, ...] = flax.struct.field(pytree_node=False, default=(1.0,))
    losses: Mapping[str, jax.Array] = flax.struct.field(default_factory=dict)


class Pairs(NamedTuple):
    """Videos float[B, F, H, W, 3] and a caption of each, B texts."""

    videos: jax.Array
    texts: PackedTokens


def _no_constants(task, class_names, template):
    del task, class_names, template


def _prepare_nothing(prompts, task):
    del prompts, task


def all_train(prompts, settings):
    """A method's `trains` where every leaf does."""
    del settings
    return jax.tree.map(lambda _: True, prompts)


def keep(rule, settings, epochs, steps_per_epoch):
    """A method's `optimizer` where the recipe's is all."""
    del settings, epochs, steps_per_epoch
    return rule


def _accept(prompts, settings, classes):
    del prompts, settings, classes


def _never(settings):
    del settings
    return False


def _no_slots(settings):
    del settings
    return 0


class Adaptation(NamedTuple):
    """Prompts that are made from the training images' features, around training.

    Attributes:
        make: (prompts, task, features float[V, n, d], labels int[n]) -> prompts made from V views
            of all n training images, before training.
        choose: (prompts, task, list of `selection.HeldOut`) -> prompts with the settings that do
            best on these images, after training, and the `selection.Choice`, None where all
            settings are given. The list may be empty.
    """

    make: Callable[[Prompts, Task, Array, Array], Prompts]
    choose: Callable[[Prompts, Task, Sequence[HeldOut]], tuple[Prompts, Choice | None]]


class Method(NamedTuple):
    """A prompt method. Training composes `prepare` and `forward` under one gradient; evaluation
    calls `prepare` once.

    Attributes:
        Settings: a frozen dataclass of the method's own settings, with the published defaults.
        init: (rng, task) -> prompts.
        forward: (prompts, prepared, task, x) -> Output. The type of x depends on `input`.
        prepare: (prompts, task) -> what does not depend on an image.
        input: the type of x. "images": float[B, H, W, 3], normalised images. "features":
            float[B, d], the frozen image tower's features, not normalised. Such a method never
            needs the image tower's gradient, and can train on features that were computed once.
            "frames": the same of videos, float[B, F, d]. "videos": float[B, F, H, W, 3], F frames
            in a row.
        objective: "classes", or "pairs" of videos and captions: then x is `Pairs`.
        constants: (task, class_names, template) -> what no prompt changes; computed once per task.
        trains: (prompts, settings) -> pytree like prompts: False or 0 where a leaf stays fixed,
            True or 1 where it trains; another number multiplies its learning rate.
        optimizer: (rule, settings, epochs, steps per epoch) -> the optax transformation that
            updates prompts; `rule` is the recipe's. It may bound what training reaches, or keep an
            average over epochs (`recipe.average_epochs`), which is the result then.
        adaptation: see `Adaptation`; None where prompts are not made from training images.
        own_classes_only: settings -> whether the prompts can only tell apart classes they were
            trained on.
        context_slots: settings -> how many of the text tower's slots stand between SOS and the
            tokens of `Task.names`; longer names are refused before they are encoded. Of a method
            that does not say it, names are padded to the longest of them and no further, so that
            only what really is too long is refused, when it is encoded.
        check: (prompts of the right shapes, settings, number of classes trained on) -> None; raises
            a PromptError for numbers that no training makes. They may come from a stranger.
    """

    Settings: type
    init: Callable[[jax.Array, Task], Prompts]
    forward: Callable[[Prompts, Any, Task, jax.Array], Output]
    prepare: Callable[[Prompts, Task], Any] = _prepare_nothing
    input: Literal["images", "features", "frames", "videos"] = "images"
    objective: Literal["classes", "pairs"] = "classes"
    constants: Callable[[Task, Sequence[str], str], Any] = _no_constants
    trains: Callable[[Prompts, Any], Any] = all_train
    optimizer: MakeOptimizer = keep
    adaptation: Adaptation | None = None
    own_classes_only: Callable[[Any], bool] = _never
    context_slots: Callable[[Any], int] = _no_slots
    check: Callable[[Prompts, Any, int], None] = _accept


def make_task(
    method: Method,
    clip: CLIP,
    frozen: Frozen,
    class_names: Sequence[str],
    settings: Any,
    template: str = PHOTO,
    trained: Sequence[int] | None = None,
) -> Task:
    """A task over K class names.

    Args:
        method: computes its constants.
        clip, frozen: the backbone.
        class_names: K names; underscores become spaces. None where captions are told apart.
        settings: the method's `Settings`.
        template: the data set's own text of a class.
        trained: see `Task.trained`; by default these are the classes that the prompts train on.

    Raises:
        PromptError: the method cannot tell these classes apart, or a prompt is too long.
    """
    index = np.arange(len(class_names)) if trained is None else np.asarray(trained)
    index = _settle(method, settings, index, class_names)
    unseen = np.flatnonzero(index == UNSEEN)
    if unseen.size and method.own_classes_only(settings):
        raise PromptError(
            "with these settings the method keeps something of its own for each class it was "
            f"trained on, and has nothing for {unseen.size} of {len(index)} classes, e.g. "
            f"{class_names[unseen[0]]!r}; "
            "test it on the classes it trains on (--config.protocol=few_shot)"
        )
    if method.objective == "pairs":
        names = no_classes()
    else:
        room, taken = clip.config.context_length, method.context_slots(settings)
        padded = method.context_slots is not _no_slots
        names = tokenize_classes("{}.", class_names, room, taken=taken, padded=padded)
    names = dataclasses.replace(names, sos=_encode_sos(clip, frozen, names.prefix[:1]))
    task = Task(frozen, names, jnp.asarray(index, jnp.int32), None, clip, settings)
    return dataclasses.replace(task, constants=method.constants(task, class_names, template))


def _settle(method, settings, index, class_names):
    """Refuses classes of which it is not known which they are, where that makes a difference."""
    unclear = np.flatnonzero(index == AMBIGUOUS)
    if unclear.size and (method.adaptation or method.own_classes_only(settings)):
        name = class_names[unclear[0]]
        raise PromptError(
            f"class {shorten(name)} can be any of several that were trained on, which all have "
            "this name, and the method keeps something of its own for each; name all of them, in "
            "the order of their labels, or leave the class out"
        )
    return np.where(index == AMBIGUOUS, UNSEEN, index)


def index_trained(
    known: Sequence[str],
    names: Sequence[str],
    known_ids: Sequence[str] = (),
    ids: Sequence[str] = (),
) -> list[int]:
    """Returns which of the classes trained on each class is, for `make_task`.

    Args:
        known: names of the classes trained on, in label order.
        names: of the classes asked for.
        known_ids, ids: what their data sets know them by, where both know it by WordNet's ids.

    Returns:
        A label each, or `UNSEEN` or `AMBIGUOUS`; see `class_names.find`.
    """
    trained = Classes(tuple(known), tuple(known_ids))
    return find(trained, Classes(tuple(names), tuple(ids)))


@functools.partial(jax.jit, static_argnums=0)
def _encode_sos(clip, frozen, token):
    return clip.prefill(frozen, clip.embed_text(frozen, token))


def check_bounds(settings: Any) -> None:
    """Raises a PromptError that names a setting beyond `bounds`; `settings` are of any method."""
    if said := find_beyond(dataclasses.asdict(settings)):
        raise PromptError(f"settings.{said}")


def look(method: Method, task: Task, images: jax.Array) -> jax.Array:
    """What `forward` takes of a batch: images float[B, H, W, 3], or their frozen features.

    Of videos float[B, F, H, W, 3] it is these, or their frames' features. Features float[B, d]
    or float[B, F, d] that were computed before pass as they are.
    """
    if method.input not in KEPT or images.ndim <= 3:
        return images
    return jax.lax.stop_gradient(task.clip.encode_image(task.frozen, images))


def describe_classes(task: Task, class_names: Sequence[str], template: str) -> jax.Array:
    """Text features by the data set's template, float32[K, d], normalised: many methods' constants.

    Raises:
        PromptError: a text is too long, see `prompts.tokenize_classes`.
    """
    return normalize(encode_templates(task.clip, task.frozen, (template,), class_names))


def cosine_logits(task: Task, image_features: jax.Array, text_features: jax.Array) -> jax.Array:
    """float32[B, K] = cos/τ of normalised float32[B, d] and float32[K, d] or [B, K, d]."""
    equation = "bd,kd->bk" if text_features.ndim == 2 else "bd,bkd->bk"
    # 1/τ is about 100: what accelerators round float32 products to by default would show.
    cosines = jnp.einsum(equation, image_features, text_features, precision="highest")
    return task.scale * cosines

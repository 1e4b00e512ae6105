"""Prompt methods: pure functions over a small trainable pytree.

Axes in annotations: `batch`, `classes`, `frames`, `layers`, `prompts`; `dim` is the width d of the
features of images and texts, `image_width` and `text_width` are those of the towers, d_v and d_l.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, cast

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from prompt_jax.clip import CLIP, Frozen, normalize
from prompt_jax.clip.packing import PackedTokens
from prompt_jax.clip.text import Cache, StackedCache
from prompt_jax.errors import PromptError, shorten
from prompt_jax.mesh import DATA, MODEL, constrain, size
from prompt_jax.methods.recipe import Labeling
from prompt_jax.methods.selection import Adaptation
from prompt_jax.prompts import (
    PHOTO,
    ClassTokens,
    encode_templates,
    no_classes,
    tokenize_classes,
)
from prompt_jax.text import class_texts
from prompt_jax.text.class_names import AMBIGUOUS, UNSEEN
from prompt_jax.text.class_texts import Texts

Prompts = Any
"""The trainable pytree of a method; an empty dict where nothing trains."""

Images = Float[Array, "batch *frames height width 3"]
"""Normalized images; or videos, where `frames` averages an image method over the frames."""

Videos = Float[Array, "batch frames height width 3"]

Learn = Callable[[Prompts, Any, "Task", Any, Int[Array, " batch"], PRNGKeyArray], "Output"]
"""(prompts, prepared, task, x, labels, random key) -> Output."""

MakeOptimizer = Callable[
    [optax.GradientTransformation, Any, int, int], optax.GradientTransformation
]

OF_SPARE = -1e9
"""The logit of a class that only fills up the number of classes."""

KEPT = ("features", "frames", "statistics")
"""Values of `Method.input` whose frozen features can be computed once and cached."""

OF_IMAGES = ("images", "features", "statistics")
"""Values of `Method.input` of methods of images; all others are made of `Encoders`."""


@flax.struct.dataclass
class Task:
    """A method's classes, backbone and settings.

    A pytree: the arrays are traced, clip and settings are static.

    Attributes:
        frozen: CLIP's parameters.
        names: the classes after a learned context, "{}.", with the keys and values of SOS.
        trained: the label of each class among the classes that the prompts are trained on;
            `UNSEEN` for a class that is not among them.
        constants: the result of the method's `constants`, computed once.
        clip: the backbone without its parameters.
        settings: the method's `Settings`.
        texts: the texts of classes that the method reads, see `Method.texts`; None for others.
        real: False for classes that only fill up the number of classes, see `Method.spare_from`;
            None if there are none.
    """

    frozen: Frozen
    names: ClassTokens
    trained: Int[Array, " classes"]
    constants: Any
    clip: CLIP = flax.struct.field(pytree_node=False)
    settings: Any = flax.struct.field(pytree_node=False)
    texts: Texts | None = flax.struct.field(pytree_node=False, default=None)
    real: Bool[Array, " classes"] | None = None

    @property
    def sos(self) -> Cache:
        """Returns the keys and values of SOS, which `make_task` computes."""
        return list(cast(Cache | StackedCache, self.names.sos))

    @property
    def scale(self) -> Float[Array, ""]:
        """Returns 1/τ, the factor of cosines in logits."""
        return jnp.exp(self.frozen["logit_scale"].astype(jnp.float32))


@flax.struct.dataclass
class Output:
    """A method's prediction for a batch.

    Attributes:
        logits: float32; those of the last iteration are the prediction.
        weights: the weight of each iteration's cross-entropy in the loss.
        losses: further terms of the loss by name, already weighted.
    """

    logits: Float[Array, "iterations batch classes"]
    weights: tuple[float, ...] = flax.struct.field(pytree_node=False, default=(1.0,))
    losses: Mapping[str, Float[Array, ""]] = flax.struct.field(default_factory=dict)


class Pairs(NamedTuple):
    """Videos and one caption of each."""

    videos: Videos
    texts: PackedTokens


def no_prompts(rng: PRNGKeyArray, task: Task) -> dict[str, Array]:
    """Returns an empty dict: the `init` of methods without prompts to train."""
    del rng, task
    return {}


def _no_constants(task: Task, class_names: Sequence[str], template: str) -> None:
    del task, class_names, template


def _prepare_nothing(prompts: Prompts, task: Task) -> None:
    del prompts, task


def all_train(prompts: Prompts, settings: Any) -> Any:
    """Returns True for every leaf: the default of `Method.trains` and `Method.decays`."""
    del settings
    return jax.tree.map(lambda _: True, prompts)


def none_train(prompts: Prompts, settings: Any) -> Any:
    """Trains no leaf: `Method.trains` of prompts that are computed from training images."""
    del settings
    return jax.tree.map(lambda _: False, prompts)


def keep(
    rule: optax.GradientTransformation, settings: Any, epochs: int, steps_per_epoch: int
) -> optax.GradientTransformation:
    """Returns the recipe's optimizer unchanged: the default of `Method.optimizer`."""
    del settings, epochs, steps_per_epoch
    return rule


def _accept(prompts: Prompts, settings: Any, classes: int) -> None:
    del prompts, settings, classes


def never(settings: Any) -> bool:
    """Returns False: the default of `Method.own_classes_only`."""
    del settings
    return False


def one(settings: Any) -> int:
    """Returns 1: `Method.spare_from` of methods whose classes do not affect each other."""
    del settings
    return 1


def zero(settings: Any) -> int:
    """Returns 0: the default of numbers that depend on settings or prompts."""
    del settings
    return 0


class Method(NamedTuple):
    """A prompt method.

    Training composes `prepare` and `forward` under one gradient; evaluation calls `prepare` once.

    Attributes:
        Settings: a frozen dataclass of the method's own settings, with the published defaults.
        init: (rng, task) -> prompts.
        forward: (prompts, prepared, task, x) -> Output. The type of x depends on `input`.
        prepare: (prompts, task) -> everything that does not depend on an image.
        input: the type of x. "images": float[B, H, W, 3], normalized images. "features":
            float[B, d], features of the frozen image tower, not normalized; such a method never
            needs the gradient of the image tower, and can train on cached features. "frames":
            float[B, F, d], the same for the frames of videos. "statistics": float[B, d + 2 L d_v],
            features and statistics of all layers' tokens, see `inputs.split_statistics`. "videos":
            float[B, F, H, W, 3].
        views: names of the augmentations, see `inputs.images.views.VIEWS`, that give V views of
            each training image; "recipe" is the recipe's own. In training x then is `Views` of V
            times what `input` says; in testing it is one view, without `Views`. Empty: one view.
        learn: in place of `forward` in training, for a loss that needs labels and what `forward`
            computes, or random choices, whose key depends on the step alone; None for `forward`.
        objective: "classes", or "pairs" of videos and captions: then x is `Pairs`.
        constants: (task, class_names, template) -> what does not depend on prompts; computed once
            per task.
        trains: (prompts, settings) -> pytree like prompts: False or 0 for a fixed leaf, True or 1
            for one that trains; another number multiplies its learning rate.
        decays: (prompts, settings) -> pytree of bool like prompts: whether weight decay applies.
        optimizer: (rule, settings, epochs, steps per epoch) -> the optax transformation that
            updates prompts; `rule` is the recipe's. It may bound parameters, or keep an average
            over epochs (`recipe.average_epochs`), which then is the result.
        adaptation: see `Adaptation`; None if prompts are not computed from training images.
        labeling: how it labels the training images itself; None if it gets their labels.
        own_classes_only: settings -> whether the prompts only work for the classes they were
            trained on.
        context_slots: settings -> how many slots of the text tower lie between SOS and the tokens
            of `Task.names`; longer names are rejected before they are encoded. Without it, names
            are padded to the longest name only, and rejected when they are encoded.
        spare_from: settings -> the number of classes from which on further ones, whose logits
            `cosine_logits` makes very small, change no logits of the others; 0: they always may.
            `predict` then fills up lists of classes, so that other lists need no other program.
        block: prompts -> if a prediction depends on other test images: the most images of which
            `forward` takes the features at once, as many as there are; 0 if on the image alone.
        copies_weights: whether `init` copies weights of the backbone, which then must be float32.
        texts: the kind of texts of classes that it reads in `Task.texts`, one of
            `class_texts.KINDS`; "" for none.
        texts_in_training_only: whether classes that it was not trained on need no texts: then
            `Task.texts` is None if there is one.
        frame_groups: settings -> the number of which a video has a multiple of frames; 0: any.
        check: (prompts of the right shapes, settings, number of training classes) -> None; raises
            PromptError for values that no training produces. They may come from an untrusted file.
    """

    Settings: type
    init: Callable[[PRNGKeyArray, Task], Prompts]
    forward: Callable[[Prompts, Any, Task, Any], Output]
    prepare: Callable[[Prompts, Task], Any] = _prepare_nothing
    input: Literal["images", "features", "frames", "statistics", "videos"] = "images"
    views: tuple[str, ...] = ()
    learn: Learn | None = None
    objective: Literal["classes", "pairs"] = "classes"
    constants: Callable[[Task, Sequence[str], str], Any] = _no_constants
    trains: Callable[[Prompts, Any], Any] = all_train
    decays: Callable[[Prompts, Any], Any] = all_train
    optimizer: MakeOptimizer = keep
    adaptation: Adaptation | None = None
    labeling: Labeling | None = None
    own_classes_only: Callable[[Any], bool] = never
    context_slots: Callable[[Any], int] = zero
    spare_from: Callable[[Any], int] = zero
    block: Callable[[Prompts], int] = zero
    copies_weights: bool = False
    texts: str = ""
    texts_in_training_only: bool = False
    frame_groups: Callable[[Any], int] = zero
    check: Callable[[Prompts, Any, int], None] = _accept


def make_task(
    method: Method,
    clip: CLIP,
    frozen: Frozen,
    class_names: Sequence[str],
    settings: Any,
    template: str = PHOTO,
    trained: Sequence[int] | None = None,
    texts: Texts | None = None,
) -> Task:
    """Returns a task over class names.

    Args:
        method: computes its constants.
        clip, frozen: the backbone.
        class_names: names; underscores become spaces. Empty for captions.
        settings: the method's `Settings`.
        template: the data set's text for a class.
        trained: see `Task.trained`; by default the prompts are trained on these classes.
        texts: texts of the kind that the method reads; not used by methods that read none.

    Raises:
        PromptError: the method cannot classify these classes, a prompt is too long, or texts of
            the classes are missing.
    """
    index = np.arange(len(class_names)) if trained is None else np.asarray(trained)
    index = _resolve_ambiguous(method, settings, index, class_names)
    unseen = np.flatnonzero(index == UNSEEN)
    if unseen.size and method.own_classes_only(settings):
        raise PromptError(
            "with these settings the method has prompts for each class it was trained on, and none "
            f"for {unseen.size} of {len(index)} classes, e.g. {class_names[unseen[0]]!r}; "
            "test it on the classes it trains on (--config.protocol=few_shot)"
        )
    needless = method.texts_in_training_only and unseen.size
    texts = class_texts.check_given("" if needless else method.texts, texts)
    if method.objective == "pairs":
        names = no_classes()
    else:
        room, taken = clip.config.context_length, method.context_slots(settings)
        padded = method.context_slots is not zero
        groups = size(clip.mesh, MODEL)
        names = tokenize_classes(
            "{}.", class_names, room, True, taken, padded, groups, clip.few_lengths
        )
    names = dataclasses.replace(names, sos=_encode_sos(clip, frozen, names.prefix[:1]))
    task = Task(frozen, names, jnp.asarray(index, jnp.int32), None, clip, settings, texts)
    return dataclasses.replace(task, constants=method.constants(task, class_names, template))


def _resolve_ambiguous(
    method: Method, settings: Any, index: np.ndarray, class_names: Sequence[str]
) -> np.ndarray:
    """Marks ambiguous classes as unseen, or rejects them if the method depends on the label."""
    unclear = np.flatnonzero(index == AMBIGUOUS)
    if unclear.size and (method.adaptation or method.own_classes_only(settings)):
        name = class_names[unclear[0]]
        raise PromptError(
            f"class {shorten(name)} is ambiguous: several training classes have this name, and the "
            "method treats each differently; list all of them, in the order of their labels, or "
            "leave the class out"
        )
    return np.where(index == AMBIGUOUS, UNSEEN, index)


@functools.partial(jax.jit, static_argnums=0)
def _encode_sos(clip: CLIP, frozen: Frozen, token: Int[Array, "1"]) -> Cache | StackedCache:
    cache = clip.prefill(frozen, clip.embed_text(frozen, token))
    return StackedCache.of(cache) if clip.scan_layers else cache


def describe_classes(
    task: Task, class_names: Sequence[str], template: str
) -> Float[Array, "classes dim"]:
    """Encodes the data set's text of each class with frozen CLIP; the features are normalized.

    Raises:
        PromptError: a text is too long, see `prompts.tokenize_classes`.
    """
    return normalize(encode_templates(task.clip, task.frozen, (template,), class_names))


def cosine_logits(
    task: Task,
    image_features: Float[Array, "batch dim"],
    text_features: Float[Array, "classes dim"] | Float[Array, "batch classes dim"],
) -> Float[Array, "batch classes"]:
    """Computes cos/τ of normalized features."""
    equation = "bd,kd->bk" if text_features.ndim == 2 else "bd,bkd->bk"
    # 1/τ is about 100, which would amplify the rounding of accelerators' default precision.
    cosines = jnp.einsum(equation, image_features, text_features, precision="highest")
    logits = constrain(task.clip.mesh, task.scale * cosines, DATA, MODEL)
    return logits if task.real is None else jnp.where(task.real, logits, OF_SPARE)

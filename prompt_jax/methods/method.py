"""What a prompt method is: three pure functions over a small trainable pytree."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp

from prompt_jax.clip import CLIP, Frozen
from prompt_jax.prompts import PHOTO, ClassTokens, tokenize_classes

Prompts = Any
"""The trainable pytree of a method; an empty dict where nothing trains."""


@flax.struct.dataclass
class Task:
    """What a method works on. A pytree: the arrays are traced, clip and settings are static.

    Attributes:
        frozen: CLIP's parameters.
        names: the classes behind a learned context, "{}.".
        photo: the classes in "a photo of a {}.".
        described: the classes in the data set's own template.
        clip: the backbone without its parameters.
        settings: the method's `Settings`.
    """

    frozen: Frozen
    names: ClassTokens
    photo: ClassTokens
    described: ClassTokens
    clip: CLIP = flax.struct.field(pytree_node=False)
    settings: Any = flax.struct.field(pytree_node=False)

    @property
    def scale(self) -> jax.Array:
        """1/τ, what cosines are multiplied by."""
        return jnp.exp(self.frozen["logit_scale"].astype(jnp.float32))


def make_task(
    clip: CLIP, frozen: Frozen, class_names: Sequence[str], settings: Any, template: str = PHOTO
) -> Task:
    """A task over K class names; `template` is the data set's own."""
    slots = clip.config.context_length
    return Task(
        frozen=frozen,
        names=tokenize_classes("{}.", class_names, slots),
        photo=tokenize_classes(PHOTO, class_names, slots),
        described=tokenize_classes(template, class_names, slots),
        clip=clip,
        settings=settings,
    )


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


def _all_train(prompts, settings):
    del settings
    return jax.tree.map(lambda _: True, prompts)


class Method(NamedTuple):
    """A prompt method. Training composes `prepare` and `forward` under one gradient; evaluation
    calls `prepare` once.

    Attributes:
        Settings: a frozen dataclass of the method's own settings, with the published defaults.
        init: (rng, task) -> prompts.
        prepare: (prompts, task) -> what does not depend on an image.
        forward: (prompts, prepared, task, images float[B, H, W, 3]) -> Output.
        trains: (prompts, settings) -> pytree of bool like prompts, False where it stays fixed.
    """

    Settings: type
    init: Callable[[jax.Array, Task], Prompts]
    prepare: Callable[[Prompts, Task], Any]
    forward: Callable[[Prompts, Any, Task, jax.Array], Output]
    trains: Callable[[Prompts, Any], Any] = _all_train


def cosine_logits(task: Task, image_features: jax.Array, text_features: jax.Array) -> jax.Array:
    """float32[B, K] = cos/τ of normalised float32[B, d] and float32[K, d] or [B, K, d]."""
    equation = "bd,kd->bk" if text_features.ndim == 2 else "bd,bkd->bk"
    return task.scale * jnp.einsum(equation, image_features, text_features)

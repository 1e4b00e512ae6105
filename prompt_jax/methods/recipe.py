"""Recipes: the training settings of a method's publication; averages of prompts over epochs; labels
of training images that a method makes itself.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The training settings of a method for a protocol; the fields are those of a config.

    Attributes:
        epochs: passes over the training images; 0: from `epochs_by_shots`.
        batch_size: images per step.
        learning_rate: the peak.
        optimizer: "sgd" or "adamw".
        schedule: "coop", "constant", "cosine", "warmup_cosine" or "vifi"; see `training.optim`.
        cached_views: 0: new crops in every epoch; n: n crops, whose image features are cached.
        warmup_epochs: for vifi: epochs of linear warmup; 0 if there are not more epochs in all. For
            coop: epochs at a rate of 1e-5; one epoch if it is 0, or there are not more in all. For
            warmup_cosine: epochs of linear warmup; a tenth of all if it is 0, or there are not more
            in all.
        momentum: for sgd.
        weight_decay: applies to prompts too.
        adam_epsilon, adam_betas: for adamw.
        clip_norm: the largest norm of gradients; 0: no clipping.
        epochs_by_shots: ((most shots, epochs), …): the first entry that fits, or the last.
        settings: method settings that differ from the method's defaults.
        data: fields of the config's `data` that differ from its defaults: frames, augmentation.
    """

    epochs: int = 5
    batch_size: int = 4
    learning_rate: float = 0.008
    optimizer: str = "sgd"
    schedule: str = "coop"
    cached_views: int = 0
    warmup_epochs: int = 0
    momentum: float = 0.9
    weight_decay: float = 5e-4
    adam_epsilon: float = 1e-8
    adam_betas: tuple[float, float] = (0.9, 0.999)
    clip_norm: float = 0.0
    epochs_by_shots: tuple[tuple[int, int], ...] = ()
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    data: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def but(self, **changes: Any) -> "Recipe":
        """Returns the recipe with some fields changed."""
        return dataclasses.replace(self, **changes)

    def fields(self) -> dict[str, Any]:
        """Returns the top-level fields of a config: all except `settings` and `data`."""
        names = [field.name for field in dataclasses.fields(self)]
        return {name: getattr(self, name) for name in names if name not in ("settings", "data")}


RETRIEVAL = Recipe(
    *(5, 32, 1e-3, "adamw", "warmup_cosine"),
    weight_decay=0.2,
    adam_epsilon=1e-6,
    clip_norm=1.0,
    data={"flip": False},  # embedded captions say left and right
)
"""VoP's recipe for text-video retrieval (CVPR 2023, section 4.1). The paper searches the learning
rate but does not print it; the rate is ours, also for other methods."""


class Labels(NamedTuple):
    """Labels of training images that a method made without reading the given ones.

    Attributes:
        labels: one per image.
        described: how they were made, in words.
        left_out: classes that no image can get, by label.
    """

    labels: Int[np.ndarray, " images"]
    described: str
    left_out: tuple[int, ...] = ()


class Labeling(NamedTuple):
    """How a method labels its training images itself; it is never given their labels.

    Attributes:
        make: (task, features float32[n, d], second float32[n, D], seed) -> `Labels`, from features
            of all n images without augmentation: CLIP's, not normalized, and those of a second
            backbone.
        renormalizes: settings -> whether the second backbone gets images normalized by its own
            mean and standard deviation, instead of CLIP's.
    """

    make: Callable[[Any, np.ndarray, np.ndarray, int], Labels]
    renormalizes: Callable[[Any], bool]


class Average(NamedTuple):
    """The state of an average: step count, weighted sum, the inner optimizer's state."""

    step: Int[Array, ""]
    average: Any
    inner: optax.OptState


def average_epochs(
    inner: optax.GradientTransformation,
    weights: Sequence[float] | np.ndarray,
    steps_per_epoch: int,
) -> optax.GradientTransformation:
    """Wraps an optimizer to average the parameters at the ends of epochs.

    Args:
        inner: the optimizer; its updates do not change.
        weights: one per epoch; they sum to 1.
        steps_per_epoch: steps in an epoch.

    Returns:
        A transformation whose state holds the weighted average in `average` after the last step.

    Source: PromptSRC section 3.3 (Gaussian-weighted prompt aggregation).
    """
    by_epoch = jnp.asarray(weights, jnp.float32)

    def init(params: Any) -> Average:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return Average(jnp.zeros((), jnp.int32), zeros, inner.init(params))

    def update(updates: Any, state: Average, params: Any = None) -> tuple[Any, Average]:
        updates, inner_state = inner.update(updates, state.inner, params)
        step = state.step + 1
        weight = jnp.where(step % steps_per_epoch == 0, by_epoch[step // steps_per_epoch - 1], 0.0)
        new = optax.apply_updates(params, updates)
        average = jax.tree.map(lambda a, p: a + weight * p, state.average, new)
        return updates, Average(step, average, inner_state)

    return optax.GradientTransformation(init, update)


def average_steps(
    inner: optax.GradientTransformation, decay: float
) -> optax.GradientTransformation:
    """Wraps an optimizer to average the parameters over all steps, recent ones most.

    Args:
        inner: the optimizer; its updates do not change.
        decay: the share of the average that each step keeps, for example 0.9999.

    Returns:
        A transformation whose state holds the average in `average`; it starts as the initial
        parameters.
    """

    def init(params: Any) -> Average:
        # Training donates the parameters' buffers: the average needs its own.
        copy = jax.tree.map(lambda x: jnp.array(x, copy=True), params)
        return Average(jnp.zeros((), jnp.int32), copy, inner.init(params))

    def update(updates: Any, state: Average, params: Any = None) -> tuple[Any, Average]:
        updates, inner_state = inner.update(updates, state.inner, params)
        new = optax.apply_updates(params, updates)
        average = jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, state.average, new)
        return updates, Average(state.step + 1, average, inner_state)

    return optax.GradientTransformation(init, update)

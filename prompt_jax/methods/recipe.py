"""How a method trains: the fields of a config that its publication sets, averages over epochs."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a method trains; the fields are those of a config, and mean the same.

    Attributes:
        epochs: passes over the training images; 0: as `epochs_by_shots` says.
        batch_size: images per step.
        learning_rate: peak.
        optimizer: "sgd" or "adamw".
        schedule: "coop", "constant", "cosine", "warmup_cosine" or "vifi"; see `training.optim`.
        cached_views: 0: new crops in every epoch; n: n crops, their image features kept.
        warmup_epochs: vifi: epochs in which the rate grows from 0; 0 if all are fewer.
        momentum: sgd.
        weight_decay: on prompts too.
        adam_epsilon, adam_betas: adamw.
        clip_norm: adamw: longer gradients are scaled to this norm; 0: as they are.
        epochs_by_shots: ((most shots, epochs), …): the first entry that fits, or the last.
        settings: of the method, where they are not its defaults.
        data: of the config's `data`, where they are not its defaults: frames, augmentation.
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
        """The same recipe with some fields changed."""
        return dataclasses.replace(self, **changes)

    def fields(self) -> dict[str, Any]:
        """The config's fields at its top level: all but those of `settings` and `data`."""
        names = [field.name for field in dataclasses.fields(self)]
        return {name: getattr(self, name) for name in names if name not in ("settings", "data")}


RETRIEVAL = Recipe(
    *(5, 32, 1e-3, "adamw", "warmup_cosine"),
    weight_decay=0.2,
    adam_epsilon=1e-6,
    clip_norm=1.0,
    data={"flip": False},  # embedded captions say left and right
)
"""VoP's for text-video retrieval (CVPR 2023, section 4.1); the rate, which it searched and does not
print, is ours, and so are those of other methods."""


class EpochAverage(NamedTuple):
    """The state of `average_epochs`: steps so far, the weighted sum so far, the optimizer's own."""

    step: jax.Array
    average: Any
    inner: optax.OptState


def average_epochs(
    inner: optax.GradientTransformation, weights: Sequence[float], steps_per_epoch: int
) -> optax.GradientTransformation:
    """Beside an optimizer, sums up the parameters after each epoch's last step, weighted.

    Args:
        inner: what updates the parameters, unchanged.
        weights: one an epoch; they sum to 1.
        steps_per_epoch: steps in an epoch.

    Returns:
        A transformation whose state's `average` is the result after the last step.

    Source: PromptSRC section 3.3 (Gaussian-weighted prompt aggregation).
    """
    by_epoch = jnp.asarray(weights, jnp.float32)

    def init(params):
        zeros = jax.tree.map(jnp.zeros_like, params)
        return EpochAverage(jnp.zeros((), jnp.int32), zeros, inner.init(params))

    def update(updates, state, params=None):
        updates, inner_state = inner.update(updates, state.inner, params)
        step = state.step + 1
        weight = jnp.where(step % steps_per_epoch == 0, by_epoch[step // steps_per_epoch - 1], 0.0)
        new = optax.apply_updates(params, updates)
        average = jax.tree.map(lambda a, p: a + weight * p, state.average, new)
        return updates, EpochAverage(step, average, inner_state)

    return optax.GradientTransformation(init, update)

"""The optimizer and learning-rate schedule that the CoOp family shares (Dassl)."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

WARMUP_RATE = 1e-5


def coop_schedule(base: float, epochs: int, steps_per_epoch: int) -> optax.Schedule:
    """Learning rate by step, constant within an epoch.

    Epoch 0 runs at 1e-5, epoch e ≥ 1 of E at base · (1 + cos(π(e - 1)/E)) / 2, as Dassl's constant
    warm-up and cosine have it.
    """

    def schedule(step):
        epoch = step // steps_per_epoch
        cosine = base * (1 + jnp.cos(jnp.pi * (epoch - 1) / epochs)) / 2
        return jnp.where(epoch == 0, WARMUP_RATE, cosine)

    return schedule


def sgd(
    learning_rate: optax.ScalarOrSchedule,
    trains: Any,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
) -> optax.GradientTransformation:
    """SGD as PyTorch has it (decay joins the gradient, then momentum), on the leaves that train.

    Args:
        learning_rate: number or schedule.
        trains: pytree of bool like the prompts. A leaf with False never changes: its updates are
            set to zero (`optax.masked` alone would pass its raw gradient through).
        momentum, weight_decay: as in Dassl's defaults.
    """
    rule = optax.chain(
        optax.add_decayed_weights(weight_decay), optax.sgd(learning_rate, momentum=momentum)
    )
    labels = jax.tree.map(lambda leaf: "trains" if leaf else "fixed", trains)
    return optax.partition({"trains": rule, "fixed": optax.set_to_zero()}, labels)

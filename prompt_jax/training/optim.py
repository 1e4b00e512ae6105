"""Optimizers and learning-rate schedules: of the CoOp family (Dassl), VoP (X-Pool), ViFi-CLIP."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

WARMUP_RATE = 1e-5
VIFI_FLOOR = 0.01


def coop_schedule(base: float | jax.Array, epochs: int, steps_per_epoch: int) -> optax.Schedule:
    """Learning rate by step, constant within an epoch.

    Epoch 0 runs at 1e-5, epoch e ≥ 1 of E at base · (1 + cos(π(e - 1)/E)) / 2, as Dassl's constant
    warm-up and cosine have it.
    """

    def schedule(step):
        epoch = step // steps_per_epoch
        cosine = base * (1 + jnp.cos(jnp.pi * (epoch - 1) / epochs)) / 2
        return jnp.where(epoch == 0, WARMUP_RATE, cosine)

    return schedule


def cosine_schedule(base: float | jax.Array, steps: int) -> optax.Schedule:
    """Learning rate by step, from `base` to 0 along half a cosine (PyTorch's CosineAnnealingLR)."""
    share = optax.cosine_decay_schedule(1.0, steps)
    return lambda step: base * share(step)


def warmup_cosine_schedule(
    base: float | jax.Array, steps: int, warmup_share: float = 0.1
) -> optax.Schedule:
    """Learning rate by step: linear from 0 to `base` over a share of all steps, then cosine to 0.

    Source: X-Pool's `get_cosine_schedule_with_warmup`.
    """
    warmup = int(warmup_share * steps)

    def schedule(step):
        cosine = (1 + jnp.cos(jnp.pi * (step - warmup) / max(1, steps - warmup))) / 2
        return base * jnp.where(step < warmup, step / max(1, warmup), cosine)

    return schedule


def vifi_schedule(base: float | jax.Array, steps: int, warmup: int) -> optax.Schedule:
    """Learning rate by step: linear from 0 to `base`, then a cosine to `base` / 100.

    Step t of T runs at base · t / W while t < W, so the first at 0, and then at
    low + (base - low)(1 + cos(πt/T)) / 2, whose t counts from the start of training too.

    Args:
        base: the rate that the warm-up ends at.
        steps: T, of the whole training.
        warmup: W, steps of the warm-up; 0 for none.

    Source: ViFi-CLIP's cosine by update, timm's `CosineLRScheduler`.
    """
    low = VIFI_FLOOR * base

    def schedule(step):
        cosine = low + (base - low) * (1 + jnp.cos(jnp.pi * step / steps)) / 2
        return jnp.where(step < warmup, base * step / max(1, warmup), cosine)

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
    return _partition(rule, trains)


def adamw(
    learning_rate: optax.ScalarOrSchedule,
    trains: Any,
    weight_decay: float = 0.01,
    epsilon: float = 1e-8,
    betas: tuple[float, float] = (0.9, 0.999),
    clip_norm: float | None = None,
) -> optax.GradientTransformation:
    """AdamW as PyTorch has it (decay apart from the gradient), on the leaves that train.

    Args:
        learning_rate: number or schedule.
        trains: see `sgd`.
        weight_decay: times the learning rate, as in PyTorch.
        epsilon: in the denominator.
        betas: decay of the averages of gradients and of their squares.
        clip_norm: gradients that are longer, all that trains together, are scaled to this norm;
            None for as they are.
    """
    rule = optax.adamw(learning_rate, *betas, eps=epsilon, weight_decay=weight_decay)
    if clip_norm is not None:
        rule = optax.chain(optax.clip_by_global_norm(clip_norm), rule)
    return _partition(rule, trains)


def _partition(rule, trains):
    labels = jax.tree.map(lambda leaf: "trains" if leaf else "fixed", trains)
    return optax.partition({"trains": rule, "fixed": optax.set_to_zero()}, labels)


def scale_rates(inner: optax.GradientTransformation, factors: Any) -> optax.GradientTransformation:
    """An optimizer whose learning rate is another for each leaf, as PyTorch's parameter groups.

    Args:
        inner: `sgd` or `adamw`, whose updates are proportional to the rate, decay among them.
        factors: pytree of numbers like the prompts, what the rate is multiplied by.
    """
    scale = optax.stateless(lambda updates, _: jax.tree.map(jnp.multiply, updates, factors))
    return optax.chain(inner, scale)

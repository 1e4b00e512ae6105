"""Optimizers and learning-rate schedules of the CoOp family (Dassl), VoP (X-Pool) and ViFi-CLIP."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

WARMUP_RATE = 1e-5
VIFI_FLOOR = 0.01


def coop_schedule(
    base: float | jax.Array, epochs: int, steps_per_epoch: int, warmup: int = 1
) -> optax.Schedule:
    """Returns the learning rate by step, constant within an epoch.

    The rate is 1e-5 in the first W epochs, and base · (1 + cos(π(e - W)/E)) / 2 in epoch e ≥ W of
    E: Dassl's constant warm-up and cosine, in which the cosine does not reach its end.

    Args:
        base: rate of the first epoch after the warm-up.
        epochs: E, all epochs of the training.
        steps_per_epoch: steps in an epoch.
        warmup: W.
    """

    def schedule(step):
        epoch = step // steps_per_epoch
        cosine = base * (1 + jnp.cos(jnp.pi * (epoch - warmup) / epochs)) / 2
        return jnp.where(epoch < warmup, WARMUP_RATE, cosine)

    return schedule


def cosine_schedule(base: float | jax.Array, steps: int) -> optax.Schedule:
    """Returns the learning rate by step: cosine from `base` to 0 (PyTorch's CosineAnnealingLR)."""
    share = optax.cosine_decay_schedule(1.0, steps)
    return lambda step: base * share(step)


def warmup_cosine_schedule(
    base: float | jax.Array, steps: int, warmup: int | None = None
) -> optax.Schedule:
    """Returns the learning rate by step: linear from 0 to `base`, then a cosine to 0.

    Args:
        base: rate at the end of the warm-up.
        steps: all steps of the training.
        warmup: steps of the warm-up; None for a tenth of all.

    Source: X-Pool's `get_cosine_schedule_with_warmup`; with epochs of warm-up, M²-CLIP's.
    """
    warmup = int(0.1 * steps) if warmup is None else warmup

    def schedule(step):
        cosine = (1 + jnp.cos(jnp.pi * (step - warmup) / max(1, steps - warmup))) / 2
        return base * jnp.where(step < warmup, step / max(1, warmup), cosine)

    return schedule


def vifi_schedule(base: float | jax.Array, steps: int, warmup: int) -> optax.Schedule:
    """Returns the learning rate by step: linear from 0 to `base`, then a cosine to `base` / 100.

    The rate at step t of T is base · t / W while t < W, and then
    low + (base - low)(1 + cos(πt/T)) / 2, where t also counts from the start of training.

    Args:
        base: rate at the end of the warm-up.
        steps: T, all steps of the training.
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
    clip_norm: float | None = None,
    decays: Any = None,
) -> optax.GradientTransformation:
    """Returns PyTorch's SGD (weight decay is added to the gradient) on the trained leaves.

    Args:
        learning_rate: number or schedule.
        trains: pytree of bool like the prompts. Leaves with False never change: their updates are
            set to zero (`optax.masked` alone would pass their raw gradients through).
        momentum, weight_decay: Dassl's defaults.
        clip_norm: maximum global norm of the gradients, without the decay; None for no clipping.
        decays: pytree of bool like the prompts, whether weight decay applies; None for all.
    """
    rule = optax.chain(
        optax.add_decayed_weights(weight_decay, _mask(decays)),
        optax.sgd(learning_rate, momentum=momentum),
    )
    return _partition(rule, trains, clip_norm)


def adamw(
    learning_rate: optax.ScalarOrSchedule,
    trains: Any,
    weight_decay: float = 0.01,
    epsilon: float = 1e-8,
    betas: tuple[float, float] = (0.9, 0.999),
    clip_norm: float | None = None,
    decays: Any = None,
) -> optax.GradientTransformation:
    """Returns PyTorch's AdamW (decoupled weight decay) on the trained leaves.

    Args:
        learning_rate: number or schedule.
        trains: see `sgd`.
        weight_decay: multiplied by the learning rate, as in PyTorch.
        epsilon: added to the denominator.
        betas: decay rates of the first and second moments.
        clip_norm: maximum global norm of the gradients; None for no clipping.
        decays: see `sgd`.
    """
    options = {"eps": epsilon, "weight_decay": weight_decay, "mask": _mask(decays)}
    rule = optax.adamw(learning_rate, *betas, **options)
    return _partition(rule, trains, clip_norm)


def _mask(decays):
    """Returns optax's mask, a function of the trained leaves alone; None if all decay."""
    if all(jax.tree.leaves(decays)):
        return None
    kept = {path for path, decayed in jax.tree.leaves_with_path(decays) if decayed}
    return lambda prompts: jax.tree.map_with_path(lambda path, _: path in kept, prompts)


def _partition(rule, trains, clip_norm):
    # Inside the partition, so that the norm is that of the trained leaves alone.
    if clip_norm is not None:
        rule = optax.chain(optax.clip_by_global_norm(clip_norm), rule)
    labels = jax.tree.map(lambda leaf: "trains" if leaf else "fixed", trains)
    return optax.partition({"trains": rule, "fixed": optax.set_to_zero()}, labels)


def scale_rates(inner: optax.GradientTransformation, factors: Any) -> optax.GradientTransformation:
    """Returns an optimizer with a learning rate per leaf, like PyTorch's parameter groups.

    Args:
        inner: `sgd` or `adamw`, whose updates, including decay, are proportional to the rate.
        factors: pytree of factors of the rate, like the prompts.
    """
    scale = optax.stateless(lambda updates, _: jax.tree.map(jnp.multiply, updates, factors))
    return optax.chain(inner, scale)

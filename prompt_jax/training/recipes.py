"""Finds the published recipe of a method, and builds the optimizer of a recipe."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from prompt_jax import methods
from prompt_jax.errors import PromptError, unknown
from prompt_jax.methods import Method, Prompts
from prompt_jax.methods.method import KEPT
from prompt_jax.methods.recipe import Recipe
from prompt_jax.training import optim

SHOTS = 16
"""The number of shots of the few-shot recipes that `find` returns."""


def find(name: str) -> Recipe:
    """Returns a method's recipe for classification: base-to-novel on images, 16 shots on videos.

    Without such a recipe, image methods get that of their own protocol, or the default one, and
    video methods VoP's.
    """
    if methods.of_images(name):
        record = methods.find_record(name, "images")
        found = record.recipe("base_to_novel") if record else None
        return found or Recipe()
    record = methods.find_record(name, "videos")
    recipe = record.recipe("few_shot") if record else None
    recipe = recipe or methods.RECORDS["videos"]["vop"].recipes["few_shot"]
    fitting = [epochs for most, epochs in recipe.epochs_by_shots if most >= SHOTS]
    return recipe.but(epochs=fitting[0], epochs_by_shots=()) if fitting else recipe


def choose(
    name: str,
    method: Method,
    other: str | None,
    asked: Mapping[str, Any],
    cached_views: int | None,
) -> Recipe:
    """Returns the recipe of a method, or of another one, with the values that the user set.

    Args:
        name, method: the method.
        other: the name of a method whose recipe is used, without its settings; None: its own.
        asked: values of `epochs`, `batch_size` and `learning_rate`; None: the recipe's.
        cached_views: that of the recipe; None: the recipe's.

    Raises:
        PromptError: a value is invalid, or the method has no features that can be computed once.
    """
    given = {field: value for field, value in asked.items() if value is not None}
    for field, value in given.items():
        kinds = int | float if field == "learning_rate" else int
        if not isinstance(value, kinds) or isinstance(value, bool) or not 0 < value < math.inf:
            whole = "" if field == "learning_rate" else "whole "
            raise PromptError(f"{field}={value!r} must be a {whole}number above 0")
    recipe = find(name) if other is None else start_from(other)
    if cached_views is None:
        if method.adaptation and not recipe.cached_views:
            cached_views = 1
        elif recipe.cached_views and method.input not in KEPT:
            cached_views = 0
        else:
            return recipe.but(**given)
    elif isinstance(cached_views, bool) or not isinstance(cached_views, int) or cached_views < 0:
        raise PromptError(f"cached_views={cached_views!r} must be a whole number, 0 or more")
    elif cached_views and method.input not in KEPT:
        raise PromptError(
            f"cached_views={cached_views}: the prompts of {name} change the image features, which "
            "therefore cannot be computed once; leave it out"
        )
    elif method.adaptation and not cached_views:
        raise PromptError(
            f"cached_views=0: {name} is computed from the training images' features; use at least 1"
        )
    return recipe.but(**given, cached_views=cached_views)


def start_from(other: str) -> Recipe:
    """Returns the recipe of a method for another one: without its settings.

    Raises:
        PromptError: there is no such method in this package.
    """
    if other not in {**methods.METHODS, **methods.ENCODERS}:
        raise unknown("method with a recipe", str(other), {**methods.METHODS, **methods.ENCODERS})
    return find(other).but(settings={})


def build_optimizer(
    training: Recipe,
    method: Method,
    prompts: Prompts,
    settings: Any,
    steps_per_epoch: int,
    rate: float | jax.Array | None = None,
) -> optax.GradientTransformation:
    """Returns the optimizer of a recipe; `rate` replaces the recipe's learning rate."""
    rate = training.learning_rate if rate is None else rate
    schedule = build_schedule(training, rate, steps_per_epoch)
    trains, decays = method.trains(prompts, settings), method.decays(prompts, settings)
    if training.optimizer == "sgd":
        optimizer = optim.sgd(
            schedule,
            trains,
            training.momentum,
            training.weight_decay,
            training.clip_norm or None,
            decays,
        )
    else:
        optimizer = optim.adamw(
            schedule,
            trains,
            training.weight_decay,
            training.adam_epsilon,
            training.adam_betas,
            training.clip_norm or None,
            decays,
        )
    if any(rate not in (0, 1) for rate in jax.tree.leaves(trains)):
        optimizer = optim.scale_rates(optimizer, trains)
    return method.optimizer(optimizer, settings, training.epochs, steps_per_epoch)


def build_schedule(
    training: Recipe, rate: float | jax.Array, steps_per_epoch: int
) -> optax.Schedule:
    """Returns the learning rate by step."""
    steps = training.epochs * steps_per_epoch
    match training.schedule:
        case "coop":
            warmup = training.warmup_epochs if training.warmup_epochs < training.epochs else 0
            return optim.coop_schedule(rate, training.epochs, steps_per_epoch, max(1, warmup))
        case "constant":
            return lambda step: jnp.full_like(step, rate, jnp.float32)
        case "cosine":
            return optim.cosine_schedule(rate, steps)
        case "vifi":
            warmup = training.warmup_epochs if training.warmup_epochs <= training.epochs else 0
            return optim.vifi_schedule(rate, steps, warmup * steps_per_epoch)
        case _:
            warmup = training.warmup_epochs if training.warmup_epochs < training.epochs else 0
            return optim.warmup_cosine_schedule(rate, steps, warmup * steps_per_epoch or None)


def as_config(recipe: Recipe, settings: Any) -> dict[str, Any]:
    """Returns the training fields that results depend on, for model.json, e.g. "settings.depth".

    Args:
        recipe: recipe of the training.
        settings: all settings of the method.
    """
    fields = recipe.fields() | {"adam_betas": list(recipe.adam_betas)}
    del fields["epochs_by_shots"]  # already applied to `epochs`
    own = dataclasses.asdict(settings)
    return fields | {f"settings.{name}": value for name, value in own.items()}


def count_trainable(method: Method, prompts: Prompts, settings: Any) -> int:
    """Returns the number of trainable parameters."""
    trains = jax.tree.leaves(method.trains(prompts, settings))
    leaves = jax.tree.leaves(prompts)
    return sum(leaf.size for leaf, trained in zip(leaves, trains, strict=True) if trained)

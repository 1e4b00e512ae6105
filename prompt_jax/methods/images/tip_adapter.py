"""Tip-Adapter and Tip-Adapter-F: a cache of the shots' features (Zhang et al., ECCV 2022).

Tip-Adapter is training-free; Tip-Adapter-F trains the keys of the cache.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from prompt_jax.clip import normalize
from prompt_jax.errors import PromptError
from prompt_jax.methods import selection
from prompt_jax.methods.method import (
    Method,
    Output,
    Prompts,
    Task,
    cosine_logits,
    describe_classes,
    no_prompts,
    none_train,
    one,
)
from prompt_jax.methods.recipe import Recipe
from prompt_jax.methods.record import Published, Record, dataset_text
from prompt_jax.prompts import multiply

SMALLEST = 0.1
DEFAULTS = {"alpha": 1.0, "beta": 5.5}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Tip-Adapter's settings.

    An alpha or beta of -1 is chosen from a grid on held-out images, see `selection`. While keys
    train, and if nothing is held out, alpha is then 1 and beta 5.5, as published.

    Attributes:
        alpha: weight of the cache, at least 0; -1: chosen.
        beta: sharpness of the cache's affinities, at least 0; -1: chosen.
        alpha_max, beta_max: exclusive upper limits of the grid, which starts at 0.1.
        alpha_steps, beta_steps: number of values in the grid.
    """

    alpha: float = selection.CHOOSE
    beta: float = selection.CHOOSE
    alpha_max: float = 3.0
    beta_max: float = 7.0
    alpha_steps: int = 20
    beta_steps: int = 200

    def __post_init__(self) -> None:
        for name in ("alpha", "beta"):
            highest, steps = getattr(self, f"{name}_max"), getattr(self, f"{name}_steps")
            selection.check_given(name, getattr(self, name))
            if highest <= SMALLEST:
                raise PromptError(f"settings.{name}_max={highest} must be above {SMALLEST}")
            if steps < 1:
                raise PromptError(f"settings.{name}_steps={steps} must be at least 1")


def from_shots(
    prompts: Prompts,
    task: Task,
    features: Float[Array | np.ndarray, "views images dim"],
    labels: Int[Array | np.ndarray, " images"],
) -> dict[str, Array]:
    """Computes the cache.

    Args:
        prompts: the result of `init`, not used.
        task: its settings hold alpha and beta.
        features: of augmented views, not normalized.
        labels: one per image.

    Returns:
        {"keys": float32[n, d], the normalized mean over views; "labels": float32[n], integers as
        floats because gradients are taken with respect to the whole tree; "alpha", "beta":
        float32[]}.
    """
    del prompts
    return {
        "keys": normalize(jnp.mean(features.astype(jnp.float32), axis=0)),
        "labels": jnp.asarray(labels, jnp.float32),
        **selection.given_or(task.settings, DEFAULTS),
    }


def trains_keys(prompts: Prompts, settings: Settings) -> Prompts:
    """Trains the keys, in Tip-Adapter-F; they are not normalized again."""
    del settings
    return {name: name == "keys" for name in prompts}


def one_hot(prompts: Prompts, task: Task) -> Float[Array, "shots classes"]:
    """Returns the classes of the shots. No label equals UNSEEN, so unseen classes have no shot."""
    return (prompts["labels"][:, None] == task.trained).astype(jnp.float32)


def vote(
    affinities: Float[Array, "batch shots"],
    values: Float[Array, "shots classes"],
    beta: Float[Array, ""],
) -> Float[Array, "batch classes"]:
    """Computes exp(-beta (1 - affinity)) · values, the cache's logits."""
    return multiply(jnp.exp(-beta * (1 - affinities)), values)


def votes(
    prompts: Prompts, task: Task, features: Float[Array, "batch dim"], beta: Float[Array, ""]
) -> Float[Array, "batch classes"]:
    """Computes the cache's logits of normalized features; 0 for classes without a shot."""
    return vote(multiply(features, prompts["keys"].T), one_hot(prompts, task), beta)


def forward(
    prompts: Prompts, prepared: None, task: Task, features: Float[Array, "batch dim"]
) -> Output:
    """Computes the zero-shot logits + alpha exp(-beta (1 - x·keys)) · values."""
    del prepared
    features = normalize(features)
    logits = cosine_logits(task, features, task.constants)
    cache = votes(prompts, task, features, prompts["beta"])
    return Output((logits + prompts["alpha"] * cache)[None])


def grid(highest: float, steps: int) -> Float[Array, " {steps}"]:
    """Returns evenly spaced values from 0.1 to below `highest`, as in the published search."""
    return SMALLEST + (highest - SMALLEST) / steps * jnp.arange(steps, dtype=jnp.float32)


def tune(
    prompts: Prompts, task: Task, held_out: Sequence[selection.HeldOut]
) -> tuple[Prompts, selection.Choice | None]:
    """Chooses those of alpha and beta that are not given; see `Adaptation`."""
    s = task.settings
    searched = {
        name: grid(getattr(s, f"{name}_max"), getattr(s, f"{name}_steps"))
        for name in ("beta", "alpha")
        if getattr(s, name) == selection.CHOOSE
    }
    if not searched:
        return prompts, None
    axes = {name: searched.get(name, prompts[name][None]) for name in ("beta", "alpha")}

    def count_hits(made: Prompts, features: Array, labels: Array) -> Array:
        return _count_hits(made, task, features, labels, axes["alpha"], axes["beta"])

    choice = selection.choose(
        held_out,
        count_hits,
        {name: [float(str(one)) for one in np.asarray(tried)] for name, tried in searched.items()},
        {name: DEFAULTS[name] for name in searched},
    )
    chosen = {name: jnp.float32(value) for name, value in choice.values.items()}
    return prompts | chosen, choice


@jax.jit
def _count_hits(
    prompts: Prompts,
    task: Task,
    features: Float[Array, "images dim"],
    labels: Int[Array, " images"],
    alphas: Float[Array, " alphas"],
    betas: Float[Array, " betas"],
) -> Int[Array, "betas alphas"]:
    """Counts hits, one pair at a time, so that memory does not grow with the grid."""
    features = normalize(features)
    zero_shot = cosine_logits(task, features, task.constants)

    def by_beta(beta: Float[Array, ""]) -> Int[Array, " alphas"]:
        cache = votes(prompts, task, features, beta)

        def by_alpha(alpha: Float[Array, ""]) -> Int[Array, ""]:
            return jnp.sum(jnp.argmax(zero_shot + alpha * cache, axis=-1) == labels)

        return jax.lax.map(by_alpha, alphas)

    return jax.lax.map(by_beta, betas)


METHOD = Method(
    Settings,
    no_prompts,
    forward,
    input="features",
    constants=describe_classes,
    trains=none_train,
    adaptation=selection.Adaptation(from_shots, tune),
    check=selection.check_shots,
    spare_from=one,
)
METHOD_F = METHOD._replace(trains=trains_keys, check=selection.check_cache)

PAPER = (
    'Zhang et al., "Tip-Adapter: Training-free Adaption of CLIP for Few-shot Classification", '
    "ECCV 2022"
)
RECORDS = (
    Record(
        "tip_adapter",
        "Tip-Adapter",
        PAPER,
        (2021, 11, 1),
        METHOD,
        {"base_to_novel": Recipe(cached_views=10)},
        "features",
        texts=dataset_text,
    ),
    # The published code keeps the epoch that is best on the test images; this keeps the last.
    Record(
        "tip_adapter_f",
        "Tip-Adapter-F",
        PAPER,
        (2021, 11, 2),
        METHOD_F,
        {
            "base_to_novel": Recipe(
                *(20, 256, 0.001, "adamw", "cosine"),
                cached_views=10,
                weight_decay=0.01,
                adam_epsilon=1e-4,
            )
        },
        "features",
        published=(
            Published(
                "few_shot",
                {"imagenet": (None, None, None, 73.69)},
                "Tip-Adapter (ECCV 2022), Table 3; the best epoch on the test set",
            ),
        ),
        export="tip_adapter",
        texts=dataset_text,
    ),
)

"""Tip-Adapter and Tip-Adapter-F: the shots' features as a cache that votes (Zhang et al., ECCV
2022). Tip-Adapter trains nothing, Tip-Adapter-F trains the cache's keys.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from prompt_jax.clip import normalize
from prompt_jax.errors import PromptError
from prompt_jax.methods import selection
from prompt_jax.methods.method import Adaptation, Method, Output, cosine_logits, describe_classes
from prompt_jax.methods.recipe import Recipe
from prompt_jax.methods.record import Record, data_set_s_own
from prompt_jax.prompts import multiply

SMALLEST = 0.1
DEFAULTS = {"alpha": 1.0, "beta": 5.5}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Tip-Adapter's settings.

    An alpha or beta of -1 is chosen of a grid on held-out images, see `selection`. While keys
    train, and where nothing is held out, such an alpha is 1 and such a beta 5.5, as published.

    Attributes:
        alpha: how much the cache's votes weigh, at least 0; -1: chosen.
        beta: how sharply a vote falls with the distance to its key, at least 0; -1: chosen.
        alpha_max, beta_max: the searched values lie from 0.1 up to these, which are left out.
        alpha_steps, beta_steps: how many values of each are searched.
    """

    alpha: float = selection.CHOOSE
    beta: float = selection.CHOOSE
    alpha_max: float = 3.0
    beta_max: float = 7.0
    alpha_steps: int = 20
    beta_steps: int = 200

    def __post_init__(self):
        for name in ("alpha", "beta"):
            highest, steps = getattr(self, f"{name}_max"), getattr(self, f"{name}_steps")
            selection.check_given(name, getattr(self, name))
            if highest <= SMALLEST:
                raise PromptError(f"settings.{name}_max={highest} must be above {SMALLEST}")
            if steps < 1:
                raise PromptError(f"settings.{name}_steps={steps} must be at least 1")


def init(rng, task):
    """Nothing: the cache's size is the number of shots, `from_shots` makes it."""
    del rng, task
    return {}


def from_shots(prompts, task, features, labels):
    """The cache.

    Args:
        prompts: what `init` made, not used.
        task: its settings hold alpha and beta.
        features: float[V, n, d], V augmented views of n images, not normalised.
        labels: int[n], the images' classes.

    Returns:
        {"keys": float32[n, d], the normalised mean over views; "labels": float32[n], whole numbers
        (gradients are taken with respect to the whole tree, so integers would not do); "alpha",
        "beta": float32[]}.
    """
    del prompts
    given = {name: getattr(task.settings, name) for name in DEFAULTS}
    return {
        "keys": normalize(jnp.mean(features.astype(jnp.float32), axis=0)),
        "labels": jnp.asarray(labels, jnp.float32),
    } | {
        name: jnp.float32(DEFAULTS[name] if value == selection.CHOOSE else value)
        for name, value in given.items()
    }


def trains(prompts, settings):
    """Nothing trains in Tip-Adapter."""
    del settings
    return jax.tree.map(lambda _: False, prompts)


def trains_keys(prompts, settings):
    """Tip-Adapter-F trains the keys; they are not normalised again."""
    del settings
    return {name: name == "keys" for name in prompts}


def votes(prompts, task, features, beta):
    """What the cache says of normalised float[B, d]: float[B, K], 0 for classes without a shot."""
    affinity = multiply(features, prompts["keys"].T)
    # No label equals UNSEEN, so a class that was not trained on gets no votes.
    values = prompts["labels"][:, None] == task.trained
    return multiply(jnp.exp(-beta * (1 - affinity)), values.astype(jnp.float32))


def forward(prompts, prepared, task, features):
    """Zero-shot logits + alpha exp(-beta (1 - x·keys)) · values."""
    del prepared
    features = normalize(features)
    logits = cosine_logits(task, features, task.constants)
    cache = votes(prompts, task, features, prompts["beta"])
    return Output((logits + prompts["alpha"] * cache)[None])


def grid(highest, steps):
    """float32[steps], evenly from 0.1, `highest` left out, as the published search has it."""
    return SMALLEST + (highest - SMALLEST) / steps * jnp.arange(steps, dtype=jnp.float32)


def tune(prompts, task, held_out):
    """Chooses alpha and beta, or that of them which is not given: see `Adaptation`."""
    s = task.settings
    searched = {
        name: grid(getattr(s, f"{name}_max"), getattr(s, f"{name}_steps"))
        for name in ("beta", "alpha")
        if getattr(s, name) == selection.CHOOSE
    }
    if not searched:
        return prompts, None
    axes = {name: searched.get(name, prompts[name][None]) for name in ("beta", "alpha")}

    def count_hits(made, features, labels):
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
def _count_hits(prompts, task, features, labels, alphas, betas):
    """int32[betas, alphas]. One pair at a time, so that memory does not grow with the grid."""
    features = normalize(features)
    zero_shot = cosine_logits(task, features, task.constants)

    def by_beta(beta):
        cache = votes(prompts, task, features, beta)

        def by_alpha(alpha):
            return jnp.sum(jnp.argmax(zero_shot + alpha * cache, axis=-1) == labels)

        return jax.lax.map(by_alpha, alphas)

    return jax.lax.map(by_beta, betas)


METHOD = Method(
    Settings,
    init,
    forward,
    input="features",
    constants=describe_classes,
    trains=trains,
    adaptation=Adaptation(from_shots, tune),
    check=selection.check_shots,
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
        texts=data_set_s_own,
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
        export="tip_adapter",
        texts=data_set_s_own,
    ),
)

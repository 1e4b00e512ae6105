"""Tip-Adapter and Tip-Adapter-F: the shots' features as a cache that votes (Zhang et al., ECCV
2022). Tip-Adapter trains nothing, Tip-Adapter-F trains the cache's keys.
"""

import dataclasses

import jax
import jax.numpy as jnp

from prompt_jax.clip import normalize
from prompt_jax.errors import PromptError
from prompt_jax.methods.method import Method, Output, cosine_logits, describe_classes

SMALLEST = 0.1


@dataclasses.dataclass(frozen=True)
class Settings:
    """Tip-Adapter's settings.

    alpha and beta are as given here while keys train, and are then searched on validation
    pictures. Where there is no such picture, these values are used.

    Attributes:
        alpha: how much the cache's votes weigh, at least 0.
        beta: how sharply a vote falls with the distance to its key, at least 0.
        alpha_max, beta_max: the searched values lie from 0.1 up to these, which are left out.
        alpha_steps, beta_steps: how many values of each are searched.
    """

    alpha: float = 1.0
    beta: float = 5.5
    alpha_max: float = 3.0
    beta_max: float = 7.0
    alpha_steps: int = 20
    beta_steps: int = 200

    def __post_init__(self):
        for name in ("alpha", "beta"):
            value, highest = getattr(self, name), getattr(self, f"{name}_max")
            steps = getattr(self, f"{name}_steps")
            if value < 0:
                raise PromptError(f"settings.{name}={value} must be at least 0")
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
        features: float[V, n, d], V augmented views of n pictures, not normalised.
        labels: int[n], the pictures' classes.

    Returns:
        {"keys": float32[n, d], the normalised mean over views; "labels": float32[n], whole numbers
        (gradients are taken with respect to the whole tree, so integers would not do); "alpha",
        "beta": float32[]}.
    """
    del prompts
    return {
        "keys": normalize(jnp.mean(features.astype(jnp.float32), axis=0)),
        "labels": jnp.asarray(labels, jnp.float32),
        "alpha": jnp.float32(task.settings.alpha),
        "beta": jnp.float32(task.settings.beta),
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
    affinity = features @ prompts["keys"].T
    # No label equals UNSEEN, so a class that was not trained on gets no votes.
    values = prompts["labels"][:, None] == task.trained
    return jnp.exp(-beta * (1 - affinity)) @ values.astype(jnp.float32)


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


def tune(prompts, task, features, labels):
    """Chooses alpha and beta: of a grid the pair with the most hits on validation pictures; of
    equals that of the smallest beta, then of the smallest alpha.

    Args:
        prompts: keys and labels.
        task: the classes that the labels count; its settings span the grid.
        features: float[n, d], not normalised. With n = 0 nothing changes.
        labels: int[n].

    Returns:
        prompts with "alpha" and "beta" replaced.
    """
    if not len(features):
        return prompts
    s = task.settings
    alphas, betas = grid(s.alpha_max, s.alpha_steps), grid(s.beta_max, s.beta_steps)
    hits = _count_hits(prompts, task, features, jnp.asarray(labels), alphas, betas)
    beta, alpha = jnp.unravel_index(jnp.argmax(hits), hits.shape)
    return {**prompts, "alpha": alphas[alpha], "beta": betas[beta]}


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
    sees="features",
    constants=describe_classes,
    trains=trains,
    from_shots=from_shots,
    tune=tune,
)
METHOD_F = METHOD._replace(trains=trains_keys)

"""CapS-Adapter: Tip-Adapter's cache with captions of the shots (Wang et al., 2024).

Nothing is trained. The published code computes the KL divergences from softmaxes over the entries
of image features; by its paper, they are of distributions over classes. It also leaves the last
n mod 10 of n images out and rounds to half precision, which is not repeated here.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from prompt_jax.clip import normalize
from prompt_jax.errors import PromptError, shorten, unknown
from prompt_jax.methods import selection
from prompt_jax.methods.images.tip_adapter import one_hot, vote
from prompt_jax.methods.method import (
    Method,
    Output,
    Prompts,
    Task,
    cosine_logits,
    describe_classes,
    no_prompts,
    none_train,
)
from prompt_jax.methods.recipe import Recipe
from prompt_jax.methods.record import Record, dataset_text
from prompt_jax.prompts import multiply
from prompt_jax.text.class_texts import CAPTIONS
from prompt_jax.text_features import encode_means

DEFAULTS = {"alpha": 1.0, "beta": 5.5, "gamma": 0.0, "delta": 0.5}
LEAST = {"alpha": 0.1, "beta": 1.0, "gamma": 0.1}
MOST_TRIED = 50_000
BLOCK = 8192

DISTRIBUTIONS = ("classes", "features")
CLASSIFIERS = ("sentences", "dataset")


@dataclasses.dataclass(frozen=True)
class Settings:
    """CapS-Adapter's settings.

    Those of alpha, beta, gamma and delta that are -1 are chosen from a grid on held-out images, see
    `selection`. The published grid has 2.2 million combinations; this one covers the same ranges
    in geometric series, and gamma also includes 0. If nothing is held out, alpha is 1 and beta 5.5
    as in Tip-Adapter, gamma 0 and delta 0.5.

    Attributes:
        alpha: weight of the cache, at least 0; -1: chosen.
        beta: sharpness of the cache's affinities, at least 0; -1: chosen.
        gamma: weight of the divergences, at least 0; -1: chosen. With 0, a prediction depends on
            the image alone, otherwise on all images that are predicted together.
        delta: share of the captions in the affinities, from 0 to 1; -1: chosen.
        temperature: of the distributions that the divergences compare, above 0.
        distribution: distributions over "classes", or over the "features" as in the published code.
        classifier: the text classifier: the mean of the classes' "sentences", which are in
            the same file as the captions; or "dataset", the data set's own text.
        alpha_max, beta_max, gamma_max: largest values of the grid.
        alpha_steps, beta_steps, gamma_steps, delta_steps: number of values in the grid.
    """

    alpha: float = selection.CHOOSE
    beta: float = selection.CHOOSE
    gamma: float = selection.CHOOSE
    delta: float = selection.CHOOSE
    temperature: float = 0.5
    distribution: str = "classes"
    classifier: str = "sentences"
    alpha_max: float = 50.0
    beta_max: float = 50.0
    gamma_max: float = 30.0
    alpha_steps: int = 8
    beta_steps: int = 8
    gamma_steps: int = 7
    delta_steps: int = 6

    def __post_init__(self) -> None:
        for name in DEFAULTS:
            selection.check_given(name, getattr(self, name))
            if getattr(self, f"{name}_steps") < 1:
                raise PromptError(
                    f"settings.{name}_steps={getattr(self, f'{name}_steps')} must be at least 1"
                )
        for name, least in LEAST.items():
            if getattr(self, f"{name}_max") < least:
                highest = getattr(self, f"{name}_max")
                raise PromptError(f"settings.{name}_max={highest} must be at least {least}")
        if self.delta > 1:
            raise PromptError(f"settings.delta={self.delta} must be from 0 to 1, or -1")
        if not self.temperature > 0:
            raise PromptError(f"settings.temperature={self.temperature} must be above 0")
        for name, allowed in (("distribution", DISTRIBUTIONS), ("classifier", CLASSIFIERS)):
            if getattr(self, name) not in allowed:
                raise unknown(f"settings.{name}", getattr(self, name), allowed)
        if (tried := int(np.prod([len(values) for values in grid(self).values()]))) > MOST_TRIED:
            raise PromptError(
                f"settings.alpha_steps, beta_steps, gamma_steps and delta_steps make {tried:,} "
                f"combinations; at most {MOST_TRIED:,}"
            )


def grid(settings: Settings) -> dict[str, list[float]]:
    """Returns the values to try of the settings that are not given."""
    tried: dict[str, list[float]] = {}
    for name in DEFAULTS:
        steps = getattr(settings, f"{name}_steps")
        if getattr(settings, name) != selection.CHOOSE:
            continue
        if name == "delta":
            tried[name] = np.linspace(0, 1, steps).round(6).tolist() if steps > 1 else [0.5]
            continue
        zero = [0.0] if name == "gamma" and steps > 1 else []
        most = getattr(settings, f"{name}_max")
        series = np.geomspace(LEAST[name], most, steps - len(zero))
        tried[name] = [*zero, *(float(f"{value:.6g}") for value in series)]
    return tried


def constants(task: Task, class_names: Sequence[str], template: str) -> Float[Array, "classes dim"]:
    """Encodes the text classifier; the features are normalized."""
    if task.settings.classifier == "dataset":
        return describe_classes(task, class_names, template)
    assert task.texts is not None
    if not task.texts.content["classes"]:
        raise PromptError(
            f"{task.texts.where} has captions, but no sentences of the classes: add them as "
            '"classes", or set settings.classifier=dataset'
        )
    texts = task.texts.of(class_names)
    for name, sentences in zip(class_names, texts, strict=True):
        if not sentences:
            raise PromptError(f"{task.texts.where} has no sentence of class {shorten(name)}")
    return normalize(encode_means(task.clip, task.frozen, texts, "sentences of the classes"))


def from_shots(
    prompts: Prompts,
    task: Task,
    features: Float[Array | np.ndarray, "views images dim"],
    labels: Int[Array | np.ndarray, " images"],
    captions: Float[Array | np.ndarray, "images dim"],
) -> dict[str, Array]:
    """Computes the cache.

    Args:
        prompts: the result of `init`, not used.
        task: its settings hold alpha, beta, gamma and delta.
        features: of augmented views, not normalized.
        labels: one per image.
        captions: features of the images' captions, normalized.

    Returns:
        {"keys": float32[n, d], the normalized mean over views; "captions": float32[n, d]; "labels":
        float32[n], integers; "alpha", "beta", "gamma", "delta": float32[]}.
    """
    del prompts
    return {
        "keys": normalize(jnp.mean(jnp.asarray(features, jnp.float32), axis=0)),
        "captions": jnp.asarray(captions, jnp.float32),
        "labels": jnp.asarray(labels, jnp.float32),
        **selection.given_or(task.settings, DEFAULTS),
    }


class Compared(NamedTuple):
    """Images compared with the cache.

    Attributes:
        by_image, by_caption: cosines of the images with its keys and captions.
        divergences: KL(image ‖ key) of their distributions, scaled to 0 … 1 over the block.
    """

    by_image: Float[Array, "batch shots"]
    by_caption: Float[Array, "batch shots"]
    divergences: Float[Array, "batch shots"]

    def affinities(self, delta: Float[Array, ""]) -> Float[Array, "batch shots"]:
        """Returns the cosines of images and shots, with a share `delta` of the captions."""
        return (1 - delta) * self.by_image + delta * self.by_caption


def distribute(features: Float[Array, "batch dim"], task: Task) -> Float[Array, "batch entries"]:
    """Computes the logarithms of the distributions of normalized features."""
    entries = features
    if task.settings.distribution == "classes":
        entries = multiply(features, task.constants.T)
    return jax.nn.log_softmax(entries / task.settings.temperature)


def diverge(
    images: Float[Array, "batch entries"], keys: Float[Array, "shots entries"]
) -> Float[Array, "batch shots"]:
    """Computes KL(image ‖ key) of distributions given by their logarithms."""
    # All distributions are similar: what they have in common would only add rounding.
    common = jnp.mean(keys, axis=0)
    shares = jnp.exp(images)
    own = jnp.sum(shares * (images - common), axis=-1, keepdims=True)
    return own - multiply(shares, (keys - common).T)


def compare(prompts: Prompts, task: Task, images: Float[Array, "batch dim"]) -> Compared:
    """Compares normalized features of a block of images with the cache."""
    found = diverge(distribute(images, task), distribute(prompts["keys"], task))
    least, most = jnp.min(found), jnp.max(found)
    share = (found - least) / jnp.where(most > least, most - least, 1)
    by_image, by_caption = (multiply(images, prompts[name].T) for name in ("keys", "captions"))
    return Compared(by_image, by_caption, share)


def vote_by_divergence(
    compared: Compared,
    affinities: Float[Array, "batch shots"],
    values: Float[Array, "shots classes"],
) -> Float[Array, "batch classes"]:
    """Computes -R · values; R is the divergences in the range of the affinities of the block."""
    least, most = jnp.min(affinities), jnp.max(affinities)
    return -multiply(compared.divergences * (most - least) + least, values)


def forward(
    prompts: Prompts, prepared: None, task: Task, features: Float[Array, "batch dim"]
) -> Output:
    """Computes text logits + alpha · cache + gamma · divergences, for a block of images."""
    del prepared
    images, values = normalize(features), one_hot(prompts, task)
    logits = cosine_logits(task, images, task.constants)
    compared = compare(prompts, task, images)
    affinities = compared.affinities(prompts["delta"])
    cache = vote(affinities, values, prompts["beta"])
    divergence = vote_by_divergence(compared, affinities, values)
    return Output((logits + prompts["alpha"] * cache + prompts["gamma"] * divergence)[None])


def tune(
    prompts: Prompts, task: Task, held_out: Sequence[selection.HeldOut]
) -> tuple[Prompts, selection.Choice | None]:
    """Chooses those of alpha, beta, gamma and delta that are not given; see `Adaptation`."""
    tried = grid(task.settings)
    if not tried:
        return prompts, None
    axes = {name: jnp.asarray(tried.get(name, [prompts[name]]), jnp.float32) for name in DEFAULTS}
    choice = selection.choose(
        held_out,
        lambda made, features, labels: _count_hits(made, task, features, labels, axes),
        tried,
        {name: DEFAULTS[name] for name in tried},
    )
    return prompts | {name: jnp.float32(value) for name, value in choice.values.items()}, choice


@jax.jit
def _count_hits(
    prompts: Prompts,
    task: Task,
    features: Float[Array, "images dim"],
    labels: Int[Array, " images"],
    axes: dict[str, Float[Array, " values"]],
) -> Int[Array, "alphas betas gammas deltas"]:
    """Counts hits, one combination at a time, so that memory does not grow with the grid."""
    images, values = normalize(features), one_hot(prompts, task)
    plain = cosine_logits(task, images, task.constants)
    compared = compare(prompts, task, images)

    def by_delta(delta: Float[Array, ""]) -> Int[Array, "betas gammas alphas"]:
        affinities = compared.affinities(delta)
        divergence = vote_by_divergence(compared, affinities, values)

        def by_beta(beta: Float[Array, ""]) -> Int[Array, "gammas alphas"]:
            cache = vote(affinities, values, beta)

            def by_gamma(gamma: Float[Array, ""]) -> Int[Array, " alphas"]:
                def by_alpha(alpha: Float[Array, ""]) -> Int[Array, ""]:
                    logits = plain + alpha * cache + gamma * divergence
                    return jnp.sum(jnp.argmax(logits, axis=-1) == labels)

                return jax.lax.map(by_alpha, axes["alpha"])

            return jax.lax.map(by_gamma, axes["gamma"])

        return jax.lax.map(by_beta, axes["beta"])

    return jnp.transpose(jax.lax.map(by_delta, axes["delta"]), (3, 1, 2, 0))


def block(prompts: Prompts) -> int:
    """Returns the published size of a block; 0 without divergences."""
    return BLOCK if float(prompts["gamma"]) else 0


def export(task: Task) -> dict[str, Array]:
    """Returns the text classifier for the PyTorch code."""
    return {"classifier": task.constants}


METHOD = Method(
    Settings,
    no_prompts,
    forward,
    input="features",
    constants=constants,
    trains=none_train,
    adaptation=selection.Adaptation(from_shots, tune, captions=True),
    texts=CAPTIONS,
    block=block,
    check=selection.check_shots,
)

RECORD = Record(
    "caps_adapter",
    "CapS-Adapter",
    'Wang et al., "CapS-Adapter: Caption-based MultiModal Adapter in Zero-Shot Classification", '
    "arXiv 2024",
    (2024, 5),
    METHOD,
    {"base_to_novel": Recipe(cached_views=10)},
    "features",
    sees_at_test="a batch",
    alone="settings.gamma=0",
    texts=dataset_text,
    exported=export,
)

"""MoCoOp: a mixture of contexts, of which a router chooses two per image (Du et al., 2024).

The image tower is frozen. `mocoop_norms` also trains its LayerNorms, as the published code does.

The published configurations do not run with the published code, which trains the vector of EOT for
some templates with words after the name and loses tokens of others. This follows the formulas.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from prompt_jax.clip import normalize, tokenizer
from prompt_jax.errors import PromptError
from prompt_jax.mesh import MODEL, size
from prompt_jax.methods.images.coop import insert
from prompt_jax.methods.method import Method, Output, Prompts, Task, cosine_logits
from prompt_jax.methods.recipe import Recipe
from prompt_jax.methods.record import Record
from prompt_jax.prompts import (
    ClassTokens,
    encode_classes,
    encode_embedded,
    encode_templates,
    init_linear,
    multiply,
    tokenize_classes,
)
from prompt_jax.text.class_names import key

NAME = "{}"
SURE = 10.0
"""Added to the cosines of the chosen experts in the router's target."""

TEMPLATES = (
    "a photo of a {}.",
    "a good photo of the {}.",
    "a good photo of a {}.",
    "a photo of the large {}.",
    "a photo of a large {}.",
    "a photo of the small {}.",
    "a photo of a small {}.",
    "a low resolution photo of the {}.",
    "a low resolution photo of a {}.",
    "a pixelated photo of the {}.",
    "a pixelated photo of a {}.",
    "a bright photo of the {}.",
    "a dark photo of the {}.",
)
"""Of OpenAI's templates for ImageNet."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """MoCoOp's settings.

    The published templates are written by hand for each data set; these suit any.

    Attributes:
        templates: texts of a class, one after another for each group.
        groups: number of templates of each expert; their sum is the number of templates. An expert
            starts from the words of its group's first template, with a vector for each token.
        chosen: number of experts per image; at most one per group.
        text_weight: weight of the text term, at least 0.
        gate_weight: weight of the router's term, at least 0.
        further_classes: names of classes without images that the text term of the loss includes.
            The published base-to-new training gives it the names of the new classes.
    """

    templates: tuple[str, ...] = TEMPLATES
    groups: tuple[int, ...] = (1, 2, 2, 2, 4, 2)
    chosen: int = 2
    text_weight: float = 5.0
    gate_weight: float = 1.0
    further_classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("templates", "groups", "further_classes"):  # JSON has lists
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not self.groups or min(self.groups) < 1 or sum(self.groups) != len(self.templates):
            raise PromptError(
                f"settings.groups={self.groups} must be numbers from 1 with the sum "
                f"{len(self.templates)}, the number of settings.templates"
            )
        for template in self.templates:
            if template.count(NAME) != 1:
                raise PromptError(
                    f'settings.templates: {template!r} must contain "{{}}" once, for the class name'
                )
        for template in self.first_templates:
            before, after = words_of(template)
            if not (tokenizer.encode(before) or tokenizer.encode(after)):
                raise PromptError(
                    f"settings.templates: {template!r} is the first of a group, so it must have "
                    "words beside the class name"
                )
        if not 1 <= self.chosen <= len(self.groups):
            raise PromptError(
                f"settings.chosen={self.chosen} must be from 1 to {len(self.groups)}, the number "
                "of settings.groups"
            )
        for name in ("text_weight", "gate_weight"):
            if getattr(self, name) < 0:
                raise PromptError(f"settings.{name}={getattr(self, name)} must be at least 0")

    @property
    def grouped(self) -> list[tuple[str, ...]]:
        """Returns the templates of each expert."""
        ends = [sum(self.groups[: n + 1]) for n in range(len(self.groups))]
        return [
            self.templates[end - number : end]
            for end, number in zip(ends, self.groups, strict=True)
        ]

    @property
    def first_templates(self) -> list[str]:
        """Returns the template whose words each expert starts from."""
        return [templates[0] for templates in self.grouped]


def words_of(template: str) -> tuple[str, str]:
    """Returns the words before and after the class name, without the full stop at the end."""
    before, after = template.strip().removesuffix(".").split(NAME)
    return before, after


def count_slots(settings: Settings) -> int:
    """Returns the largest number of vectors of an expert."""
    return max(
        sum(len(tokenizer.encode(words)) for words in words_of(template))
        for template in settings.first_templates
    )


@flax.struct.dataclass
class Constants:
    """Values that MoCoOp computes once per task.

    Attributes:
        names: the classes without a full stop; then the further ones, None if there are none.
        further: see `names`.
        prototypes: each expert's frozen features of the classes, then of the further ones,
            normalized.
    """

    names: ClassTokens
    further: ClassTokens | None
    prototypes: Float[Array, "experts classes dim"]


def constants(task: Task, class_names: Sequence[str], template: str) -> Constants:
    """Tokenizes the classes and encodes the templates of each group."""
    del template
    known = {key(name) for name in class_names}
    further = [name for name in task.settings.further_classes if key(name) not in known]
    every = [*class_names, *further]
    prototypes = [
        normalize(encode_templates(task.clip, task.frozen, templates, every))
        for templates in task.settings.grouped
    ]
    tokens = _tokenize(task, further) if further else None
    return Constants(_tokenize(task, class_names), tokens, jnp.stack(prototypes))


def _tokenize(task: Task, names: Sequence[str]) -> ClassTokens:
    room, groups = task.clip.config.context_length, size(task.clip.mesh, MODEL)
    taken = count_slots(task.settings)
    tokens = tokenize_classes(NAME, names, room, True, taken, groups=groups)
    return dataclasses.replace(tokens, sos=task.sos)


def init(rng: PRNGKeyArray, task: Task) -> dict[str, Any]:
    """Returns the experts' vectors, the router and a shift of all text features.

    Returns:
        {"before_G": float32[M, d_l] and "after_G": float32[N, d_l] of expert G, without those of
        no vectors; "router": {"kernel": float32[d, G], "bias": float32[G]}, uniform in ±1/√d;
        "shift": float32[d], zeros}.
    """
    width, settings = task.clip.config.embed_dim, task.settings
    made: dict[str, Any] = {
        "router": init_linear(rng, width, len(settings.groups)),
        "shift": jnp.zeros(width),
    }
    for expert, template in enumerate(settings.first_templates):
        for place, words in zip(("before", "after"), words_of(template), strict=True):
            if ids := tokenizer.encode(words):
                made[f"{place}_{expert}"] = task.clip.embed_text(task.frozen, jnp.asarray(ids))
    return made


def encode_experts(
    prompts: Prompts, task: Task, names: ClassTokens
) -> Float[Array, "experts classes dim"]:
    """Encodes classes with the vectors of each expert: N(text + shift)."""
    none = jnp.zeros((0, task.clip.config.text_width))
    features = [
        _encode(task, names, prompts.get(f"before_{n}", none), prompts.get(f"after_{n}", none))
        for n in range(len(task.settings.groups))
    ]
    return normalize(jnp.stack(features) + prompts["shift"])


def _encode(
    task: Task,
    names: ClassTokens,
    before: Float[Array, "vectors_before text_width"],
    after: Float[Array, "vectors_after text_width"],
) -> Float[Array, "classes dim"]:
    if not len(after):
        return encode_classes(task.clip, task.frozen, names, before)
    prefix = jnp.concatenate([task.clip.embed_text(task.frozen, names.prefix), before])
    suffix = task.clip.embed_text(task.frozen, names.suffix)
    after = jnp.broadcast_to(after, (names.number, *after.shape))
    suffix = insert(suffix, after, names.eot)
    eot = names.eot + after.shape[1]
    return encode_embedded(task.clip, task.frozen, prefix, suffix, eot)


def prepare(prompts: Prompts, task: Task) -> Float[Array, "experts classes dim"]:
    """Encodes the classes with every expert; the features are normalized."""
    return encode_experts(prompts, task, task.constants.names)


def route(prompts: Prompts, images: Float[Array, "batch dim"]) -> Float[Array, "batch experts"]:
    """Computes the router's output for each expert."""
    return multiply(images, prompts["router"]["kernel"]) + prompts["router"]["bias"]


def gate(routes: Float[Array, "batch experts"], chosen: int) -> Float[Array, "batch experts"]:
    """Computes the experts' weights: a softmax over the `chosen` largest outputs, else 0."""
    largest, experts = jax.lax.top_k(routes, chosen)
    weights = jax.nn.softmax(largest, axis=-1)
    return jnp.sum(jax.nn.one_hot(experts, routes.shape[-1]) * weights[..., None], axis=-2)


def forward(
    prompts: Prompts,
    prepared: Float[Array, "experts classes dim"],
    task: Task,
    features: Float[Array, "batch dim"],
) -> Output:
    """Computes the similarity of images to the weighted mean of the chosen experts' features.

    The mean is not normalized again, so that it is also the mean of the experts' logits.
    """
    images = normalize(features)
    weights = gate(route(prompts, images), task.settings.chosen)
    by_expert = jnp.stack([cosine_logits(task, images, classes) for classes in prepared], axis=1)
    return Output(jnp.einsum("bg,bgk->bk", weights, by_expert, precision="highest")[None])


def target(
    prototypes: Float[Array, "experts classes dim"],
    images: Float[Array, "batch dim"],
    labels: Int[Array, " batch"],
    chosen: int,
) -> tuple[Float[Array, "batch experts"], Float[Array, "batch experts"]]:
    """Computes the cosines of images and their classes' prototypes, and the router's target.

    The target is a softmax of the cosines after 10 is added to the `chosen` largest.
    """
    own = prototypes[:, labels]  # [experts, batch, dim]
    cosines = jnp.einsum("bd,gbd->bg", images, own, precision="highest")
    best = jax.lax.top_k(cosines, chosen)[1]
    raised = cosines + SURE * jnp.sum(jax.nn.one_hot(best, cosines.shape[-1]), axis=-2)
    return cosines, jax.nn.softmax(raised, axis=-1)


def learn(
    prompts: Prompts,
    prepared: Float[Array, "experts classes dim"],
    task: Task,
    features: Float[Array, "batch dim"],
    labels: Int[Array, " batch"],
    rng: PRNGKeyArray,
) -> Output:
    """Computes the same as `forward`, and the losses "text" and "gate".

    "text" is the mean over experts and classes of the cross-entropy of the expert's feature with
    all prototypes of its group, without temperature; "gate" is that of the router with `target`.
    """
    del rng
    s, known = task.settings, task.constants
    experts = prepared
    if known.further is not None:
        more = encode_experts(prompts, task, known.further)
        experts = jnp.concatenate([prepared, more], axis=1)
    similar = jnp.einsum("gkd,gjd->gkj", experts, known.prototypes, precision="highest")
    own = jnp.broadcast_to(jnp.arange(similar.shape[1]), similar.shape[:2])
    text = optax.softmax_cross_entropy_with_integer_labels(similar, own)
    images = normalize(features)
    _, targets = target(known.prototypes, images, labels, s.chosen)
    gates = optax.softmax_cross_entropy(route(prompts, images), targets)
    losses = {"text": s.text_weight * jnp.mean(text), "gate": s.gate_weight * jnp.mean(gates)}
    return dataclasses.replace(forward(prompts, prepared, task, features), losses=losses)


METHOD = Method(
    Settings,
    init,
    forward,
    prepare,
    input="features",
    learn=learn,
    constants=constants,
    context_slots=count_slots,
)

TRAINED = Recipe(25, 32, 0.032, warmup_epochs=3, clip_norm=1.0)
LARGE = Recipe(10, 1, 0.002, warmup_epochs=1, clip_norm=1.0)
RECORD = Record(
    "mocoop",
    "MoCoOp",
    'Du et al., "Mixture of Prompt Learning for Vision Language Models", arXiv 2024',
    (2024, 9),
    METHOD,
    {
        "base_to_novel": TRAINED,
        "few_shot": TRAINED.but(epochs=50, warmup_epochs=5),
        "cross_dataset": LARGE,
        "domain_generalization": LARGE,
    },
    "text",
    texts=lambda settings, template: (NAME,),
)

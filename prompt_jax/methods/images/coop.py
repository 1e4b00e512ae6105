"""CoOp: context vectors in place of the words around the class name (Zhou et al., IJCV 2022)."""

import dataclasses

import jax
import jax.numpy as jnp

from prompt_jax.clip import normalize, tokenizer
from prompt_jax.errors import PromptError, unknown
from prompt_jax.methods.method import Method, Output, cosine_logits
from prompt_jax.methods.recipe import Recipe
from prompt_jax.methods.record import (
    NAME_ALONE,
    Record,
    cross_dataset,
    domain_generalization,
    halves,
)
from prompt_jax.prompts import encode_classes, encode_embedded, init_context
from prompt_jax.text.class_names import spaced

POSITIONS = ("end", "middle", "front")


@dataclasses.dataclass(frozen=True)
class Settings:
    """CoOp's settings.

    Attributes:
        context_length: number of context vectors M.
        context_words: words whose embeddings the last vectors start from; "" starts at random.
        class_specific: a context of its own for each class, which then can only be tested on
            classes it was trained on; otherwise one for all.
        name_position: where the class name stands: at the "end", behind the context; in its
            "middle", behind the first M // 2 vectors; or in "front" of it. The full stop is last.
    """

    context_length: int = 16
    context_words: str = ""
    class_specific: bool = False
    name_position: str = "end"

    def __post_init__(self):
        if self.context_length < 1:
            raise PromptError(f"context_length={self.context_length} must be at least 1")
        if self.name_position not in POSITIONS:
            raise unknown("name_position", self.name_position, POSITIONS)


def init(rng, task):
    """{"context": float32[M, d_l], or [K, M, d_l] if it is class-specific}."""
    s = task.settings

    def start(rng):
        return init_context(rng, task.clip, task.frozen, s.context_length, s.context_words)

    if s.class_specific:
        return {"context": jax.vmap(start)(jax.random.split(rng, task.names.number))}
    return {"context": start(rng)}


def constants(task, class_names, template):
    """How many tokens each class name has, int32[K], the full stop not counted."""
    del template
    lengths = [len(tokenizer.encode(spaced(name))) for name in class_names]
    return jnp.minimum(jnp.asarray(lengths, jnp.int32), task.names.eot)


def prepare(prompts, task):
    """The classes' text features under the context, float32[K, d], normalised.

    Vectors that all classes share and that precede the name go into the shared prefix; the others
    into each class's own tokens.
    """
    s, names, context = task.settings, task.names, prompts["context"]
    if s.name_position == "end" and not s.class_specific:
        return normalize(encode_classes(task.clip, task.frozen, names, context))
    length = context.shape[-2]
    before = {"end": length, "middle": length // 2, "front": 0}[s.name_position]
    prefix = task.clip.embed_text(task.frozen, names.prefix)
    suffix = task.clip.embed_text(task.frozen, names.suffix)
    eot = names.eot + length - before
    if s.class_specific:
        context = context[task.trained]
    if before < length:
        behind = context[..., before:, :]
        behind = jnp.broadcast_to(behind, (names.number, *behind.shape[-2:]))
        suffix = insert(suffix, behind, task.constants)
    if s.class_specific:
        suffix, eot = jnp.concatenate([context[:, :before], suffix], axis=1), eot + before
    else:
        prefix = jnp.concatenate([prefix, context[:before]])
    return normalize(encode_embedded(task.clip, task.frozen, prefix, suffix, eot))


def insert(tokens: jax.Array, new: jax.Array, position: jax.Array) -> jax.Array:
    """Puts new float[K, N, d] into tokens float[K, S, d], row k's behind its position[k] first.

    Returns:
        float[K, S + N, d].
    """
    size, number = tokens.shape[1], new.shape[1]
    slot, position = jnp.arange(size + number), position[:, None]
    # Where each slot's token stands in [tokens, new].
    source = jnp.where(slot < position + number, size + slot - position, slot - number)
    source = jnp.where(slot < position, slot, source)
    return jnp.take_along_axis(jnp.concatenate([tokens, new], axis=1), source[..., None], axis=1)


def forward(prompts, prepared, task, features):
    """Cosine similarity of the image with every class."""
    del prompts
    return Output(cosine_logits(task, normalize(features), prepared)[None])


METHOD = Method(
    Settings,
    init,
    forward,
    prepare,
    input="features",
    constants=constants,
    own_classes_only=lambda settings: settings.class_specific,
    context_slots=lambda settings: settings.context_length,
)

TRAINED = Recipe(200, 32, 0.002, settings={"context_length": 4, "context_words": "a photo of a"})
RECORD = Record(
    "coop",
    "CoOp",
    'Zhou et al., "Learning to Prompt for Vision-Language Models", IJCV 2022',
    (2021, 9),
    METHOD,
    {
        "few_shot": Recipe(0, 32, 0.002, epochs_by_shots=((1, 50), (4, 100), (16, 200))),
        "base_to_novel": TRAINED,
        "cross_dataset": TRAINED.but(epochs=50),
        "domain_generalization": TRAINED.but(epochs=50),
    },
    "text",
    published=(
        halves(82.69, 63.22, 71.66, "ProMPT (ICMR 2024), Table 1"),
        cross_dataset(
            "ProMPT (ICMR 2024), Table 2",
            *(71.51, 93.70, 89.14, 64.51, 68.71, 85.30, 18.47, 64.15, 41.92, 46.39, 66.55, 63.88),
        ),
        domain_generalization(
            "ProMPT (ICMR 2024), Table 3", 71.51, 64.20, 47.99, 49.71, 75.21, 59.28
        ),
    ),
    texts=lambda settings, template: (NAME_ALONE, "{}"),
)

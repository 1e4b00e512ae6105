"""CoOp: context vectors in place of the words around the class name (Zhou et al., IJCV 2022)."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from prompt_jax.clip import normalize, tokenizer
from prompt_jax.errors import PromptError, unknown
from prompt_jax.mesh import take_rows
from prompt_jax.methods.method import Method, Output, Prompts, Task, cosine_logits
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
        context_words: words whose embeddings initialize the last vectors; "" draws all at random.
        class_specific: a separate context for each class, which can then only be tested on the
            training classes; otherwise all classes share one.
        name_position: the position of the class name: at the "end", after the context; in its
            "middle", after the first M // 2 vectors; or in "front" of it. The full stop is last.
    """

    context_length: int = 16
    context_words: str = ""
    class_specific: bool = False
    name_position: str = "end"

    def __post_init__(self) -> None:
        if self.context_length < 1:
            raise PromptError(f"context_length={self.context_length} must be at least 1")
        if self.name_position not in POSITIONS:
            raise unknown("name_position", self.name_position, POSITIONS)


def init(rng: PRNGKeyArray, task: Task) -> dict[str, Float[Array, "*classes context text_width"]]:
    """Draws {"context"}, with a first axis over classes if it is class-specific."""
    s = task.settings

    def start(rng: PRNGKeyArray) -> Float[Array, "context text_width"]:
        return init_context(rng, task.clip, task.frozen, s.context_length, s.context_words)

    if s.class_specific:
        return {"context": jax.vmap(start)(jax.random.split(rng, task.names.number))}
    return {"context": start(rng)}


def constants(task: Task, class_names: Sequence[str], template: str) -> Int[Array, " classes"]:
    """Counts the tokens of each class name, without the full stop."""
    del template
    lengths = [len(tokenizer.encode(spaced(name))) for name in class_names]
    return jnp.minimum(jnp.asarray(lengths, jnp.int32), task.names.eot)


def prepare(prompts: Prompts, task: Task) -> Float[Array, "classes dim"]:
    """Encodes the classes with the context; the features are normalized.

    Shared vectors before the name are part of the shared prefix; the others are inserted into the
    tokens of each class.
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
        context = take_rows(task.clip.mesh, context, task.trained)
    if before < length:
        after = context[..., before:, :]
        after = jnp.broadcast_to(after, (names.number, *after.shape[-2:]))
        suffix = insert(suffix, after, task.constants)
    if s.class_specific:
        suffix, eot = jnp.concatenate([context[:, :before], suffix], axis=1), eot + before
    else:
        prefix = jnp.concatenate([prefix, context[:before]])
    return normalize(encode_embedded(task.clip, task.frozen, prefix, suffix, eot))


def insert(
    tokens: Float[Array, "classes size text_width"],
    new: Float[Array, "classes number text_width"],
    position: Int[Array, " classes"],
) -> Float[Array, "classes size+number text_width"]:
    """Inserts `new` into each row of `tokens`, after the first `position` tokens."""
    size, number = tokens.shape[1], new.shape[1]
    slot, start = jnp.arange(size + number), position[:, None]
    # Each slot's index in [tokens, new].
    source = jnp.where(slot < start + number, size + slot - start, slot - number)
    source = jnp.where(slot < start, slot, source)
    return jnp.take_along_axis(jnp.concatenate([tokens, new], axis=1), source[..., None], axis=1)


def forward(
    prompts: Prompts,
    prepared: Float[Array, "classes dim"],
    task: Task,
    features: Float[Array, "batch dim"],
) -> Output:
    """Computes the similarity of images and classes."""
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
    spare_from=lambda settings: int(not settings.class_specific),
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

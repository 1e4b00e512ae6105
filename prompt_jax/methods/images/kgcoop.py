"""KgCoOp: CoOp with class features close to zero-shot CLIP's (Yao et al., CVPR 2023)."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from prompt_jax.clip import normalize
from prompt_jax.errors import PromptError
from prompt_jax.methods.method import (
    Method,
    Output,
    Prompts,
    Task,
    cosine_logits,
    describe_classes,
    one,
)
from prompt_jax.methods.recipe import Recipe
from prompt_jax.methods.record import Record, halves
from prompt_jax.prompts import encode_classes, init_context


@dataclasses.dataclass(frozen=True)
class Settings:
    """KgCoOp's settings; the class name is at the end, and all classes share the context.

    Attributes:
        context_length: number of context vectors M, at least 1.
        context_words: words whose embeddings initialize the last vectors; "" draws all at random.
        knowledge_weight: λ, the weight of the distance to the data set's own text, at least 0.
    """

    context_length: int = 4
    context_words: str = "a photo of a"
    knowledge_weight: float = 8.0

    def __post_init__(self) -> None:
        if self.context_length < 1:
            raise PromptError(f"settings.context_length={self.context_length} must be at least 1")
        if self.knowledge_weight < 0:
            raise PromptError(
                f"settings.knowledge_weight={self.knowledge_weight} must be at least 0 (CoOp)"
            )


def init(rng: PRNGKeyArray, task: Task) -> dict[str, Float[Array, "context text_width"]]:
    """Draws {"context"}."""
    s = task.settings
    context = init_context(rng, task.clip, task.frozen, s.context_length, s.context_words)
    return {"context": context}


def prepare(prompts: Prompts, task: Task) -> Float[Array, "classes dim"]:
    """Encodes the classes with the context; the features are normalized."""
    return normalize(encode_classes(task.clip, task.frozen, task.names, prompts["context"]))


def forward(
    prompts: Prompts,
    prepared: Float[Array, "classes dim"],
    task: Task,
    features: Float[Array, "batch dim"],
) -> Output:
    """Computes the similarity of images and classes, and the loss "knowledge".

    The loss is λ (1 - mean cosine of prompted and frozen text features), as in the published code.
    """
    del prompts
    logits = cosine_logits(task, normalize(features), prepared)
    cosines = jnp.sum(prepared * task.constants, axis=-1)
    knowledge = task.settings.knowledge_weight * (1 - jnp.mean(cosines))
    return Output(logits[None], losses={"knowledge": knowledge})


METHOD = Method(
    Settings,
    init,
    forward,
    prepare,
    input="features",
    constants=describe_classes,
    context_slots=lambda settings: settings.context_length,
    spare_from=one,
)

RECORD = Record(
    "kgcoop",
    "KgCoOp",
    'Yao et al., "Visual-Language Prompt Tuning with Knowledge-guided Context Optimization", '
    "CVPR 2023",
    (2023, 3),
    METHOD,
    {"base_to_novel": Recipe(100, 128, 0.002)},
    "text",
    published=(halves(80.73, 73.60, 77.00, "KgCoOp (CVPR 2023)"),),
)

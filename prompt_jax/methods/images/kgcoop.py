"""KgCoOp: CoOp whose class features stay close to zero-shot CLIP's (Yao et al., CVPR 2023)."""

import dataclasses

import jax.numpy as jnp

from prompt_jax.clip import normalize
from prompt_jax.errors import PromptError
from prompt_jax.methods.method import Method, Output, cosine_logits, describe_classes
from prompt_jax.methods.recipe import Recipe
from prompt_jax.methods.record import Record, halves
from prompt_jax.prompts import encode_classes, init_context


@dataclasses.dataclass(frozen=True)
class Settings:
    """KgCoOp's settings; the class name stands at the end, the context is shared by all classes.

    Attributes:
        context_length: number of context vectors M, at least 1.
        context_words: words whose embeddings the last vectors start from; "" starts at random.
        knowledge_weight: λ, how much the distance to the data set's own text weighs, at least 0.
    """

    context_length: int = 4
    context_words: str = "a photo of a"
    knowledge_weight: float = 8.0

    def __post_init__(self):
        if self.context_length < 1:
            raise PromptError(f"settings.context_length={self.context_length} must be at least 1")
        if self.knowledge_weight < 0:
            raise PromptError(
                f"settings.knowledge_weight={self.knowledge_weight} must be at least 0 (CoOp)"
            )


def init(rng, task):
    """{"context": float32[M, d_l]}."""
    s = task.settings
    context = init_context(rng, task.clip, task.frozen, s.context_length, s.context_words)
    return {"context": context}


def prepare(prompts, task):
    """The classes' text features under the context, float32[K, d], normalised."""
    return normalize(encode_classes(task.clip, task.frozen, task.names, prompts["context"]))


def forward(prompts, prepared, task, features):
    """Cosine similarity with every class; "knowledge" is λ (1 - mean cosine of prompted and frozen
    text).

    Source: the published code, which measures the distance by cosine.
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

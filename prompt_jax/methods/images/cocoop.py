"""CoCoOp: a small network makes the context depend on the image (Zhou et al., CVPR 2022)."""

import dataclasses
from typing import Any

import jax
from jaxtyping import Array, Float, PRNGKeyArray

from prompt_jax.clip import normalize
from prompt_jax.methods.method import (
    Method,
    Output,
    Prompts,
    Task,
    cosine_logits,
    one,
)
from prompt_jax.methods.recipe import Recipe
from prompt_jax.methods.record import Record, cross_dataset, domain_generalization, halves
from prompt_jax.prompts import encode_classes, generate, init_context, init_generator


@dataclasses.dataclass(frozen=True)
class Settings:
    """CoCoOp's settings.

    Attributes:
        context_length: number of context vectors M.
        context_words: words whose embeddings initialize the last vectors; "" draws all at random.
    """

    context_length: int = 4
    context_words: str = "a photo of a"


def init(rng: PRNGKeyArray, task: Task) -> dict[str, Any]:
    """Draws {"context": float32[M, d_l], "meta_net": Linear d→d/16, ReLU, Linear d/16→d_l}."""
    s, sizes = task.settings, task.clip.config
    context_rng, meta_rng = jax.random.split(rng)
    context = init_context(context_rng, task.clip, task.frozen, s.context_length, s.context_words)
    meta_net = init_generator(meta_rng, sizes.embed_dim, sizes.text_width)
    return {"context": context, "meta_net": meta_net}


def forward(
    prompts: Prompts, prepared: None, task: Task, features: Float[Array, "batch dim"]
) -> Output:
    """Encodes all classes for each image, whose meta-token is added to all context vectors."""
    del prepared
    features = normalize(features)
    shift = generate(prompts["meta_net"], features)  # [B, d_l]
    context = prompts["context"] + shift[:, None]
    classes = encode_classes(task.clip, task.frozen, task.names, context)  # [B, K, d]
    return Output(cosine_logits(task, features, normalize(classes))[None])


METHOD = Method(
    Settings,
    init,
    forward,
    input="features",
    context_slots=lambda settings: settings.context_length,
    spare_from=one,
)

RECORD = Record(
    "cocoop",
    "CoCoOp",
    'Zhou et al., "Conditional Prompt Learning for Vision-Language Models", CVPR 2022',
    (2022, 3),
    METHOD,
    {"base_to_novel": Recipe(10, 1, 0.002)},
    "text",
    context="The meta-net adds something of each image to these vectors.",
    published=(
        halves(80.47, 71.69, 75.83, "ProMPT (ICMR 2024), Table 1"),
        cross_dataset(
            "ProMPT (ICMR 2024), Table 2",
            *(71.02, 94.43, 90.14, 65.32, 71.88, 86.06, 22.94, 67.36, 45.73, 45.37, 68.21, 65.74),
        ),
        domain_generalization(
            "ProMPT (ICMR 2024), Table 3", 71.02, 64.07, 48.75, 50.63, 76.18, 59.91
        ),
    ),
)

"""MaPLe: text prompts, and vision prompts computed from them by linear maps (CVPR 2023)."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from prompt_jax.clip import normalize
from prompt_jax.errors import PromptError
from prompt_jax.methods.method import (
    Images,
    Method,
    Output,
    Prompts,
    Task,
    cosine_logits,
    one,
)
from prompt_jax.methods.recipe import Recipe
from prompt_jax.methods.record import DEEPER, Record, halves
from prompt_jax.prompts import (
    STANDARD_DEVIATION,
    encode_classes,
    encode_prompted_image,
    init_context,
    init_linear,
    multiply,
    slots_before,
    words_after,
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """MaPLe's settings.

    Attributes:
        context_length: prompts per layer, in either tower.
        depth: J, the number of layers, from the first on, that receive prompts; at most the layers
            of either tower, because every text prompt has a vision prompt.
        context_words: words before the class name. The first of them initialize the context, which
            replaces them; the others remain as fixed tokens; "" draws at random.
    """

    context_length: int = 2
    depth: int = 9
    context_words: str = "a photo of a"

    def __post_init__(self) -> None:
        for field in ("context_length", "depth"):
            if getattr(self, field) < 1:
                raise PromptError(f"{field}={getattr(self, field)} must be at least 1")


def init(rng: PRNGKeyArray, task: Task) -> dict[str, Any]:
    """Draws the context, the deep context, and a projection from text to vision prompts per layer.

    {"context": float32[M, d_l], "deep_context": float32[J - 1, M, d_l], "projection": {"kernel":
    float32[J, d_l, d_v], "bias": float32[J, d_v]}}.
    """
    s, sizes = task.settings, task.clip.config
    depth = min(s.depth, sizes.text_layers, sizes.image_layers)
    context_rng, deep_rng, *linear_rngs = jax.random.split(rng, 2 + depth)
    context = init_context(
        context_rng, task.clip, task.frozen, s.context_length, s.context_words, cut=True
    )
    deep = STANDARD_DEVIATION * jax.random.normal(deep_rng, (depth - 1, *context.shape))
    layers = [init_linear(each, sizes.text_width, sizes.image_width) for each in linear_rngs]
    projection = jax.tree.map(lambda *arrays: jnp.stack(arrays), *layers)
    return {"context": context, "deep_context": deep, "projection": projection}


def prepare(
    prompts: Prompts, task: Task
) -> tuple[Float[Array, "classes dim"], Float[Array, "layers prompts image_width"]]:
    """Computes normalized class features and the vision prompts."""
    clip, frozen, context = task.clip, task.frozen, prompts["context"]
    words = words_after(clip, frozen, len(context), task.settings.context_words)
    classes = encode_classes(
        clip,
        frozen,
        task.names,
        jnp.concatenate([context, words]),
        deep_prompts=prompts["deep_context"],
    )
    projection = prompts["projection"]
    text = jnp.concatenate([context[None], prompts["deep_context"]])
    vision = multiply(text, projection["kernel"]) + projection["bias"][:, None]
    return normalize(classes), vision


def forward(
    prompts: Prompts,
    prepared: tuple[Float[Array, "classes dim"], Float[Array, "layers prompts image_width"]],
    task: Task,
    images: Images,
) -> Output:
    """Computes the similarity of images, encoded with the vision prompts, and classes."""
    del prompts
    classes, vision = prepared
    features = encode_prompted_image(task.clip, task.frozen, images, vision)
    return Output(cosine_logits(task, normalize(features), classes)[None])


METHOD = Method(
    Settings,
    init,
    forward,
    prepare,
    context_slots=lambda s: slots_before(s.context_length, s.context_words),
    spare_from=one,
)

TRANSFER = Recipe(2, learning_rate=0.0026, settings={"depth": 3})
RECORD = Record(
    "maple",
    "MaPLe",
    'Khattak et al., "MaPLe: Multi-modal Prompt Learning", CVPR 2023',
    (2022, 10, 2),
    METHOD,
    {
        "base_to_novel": Recipe(learning_rate=0.0035),
        "cross_dataset": TRANSFER,
        "domain_generalization": TRANSFER,
    },
    "both",
    context=DEEPER,
    published=(halves(82.28, 75.14, 78.55, "MaPLe (CVPR 2023)"),),
)

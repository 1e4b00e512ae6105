"""IVLP: independent deep prompts in both towers (the baseline of Khattak et al., CVPR 2023)."""

import dataclasses

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
from prompt_jax.methods.record import DEEPER, Record
from prompt_jax.prompts import (
    STANDARD_DEVIATION,
    encode_classes,
    encode_prompted_image,
    init_context,
    slots_before,
    words_after,
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """IVLP's settings.

    Attributes:
        text_prompts: prompts per layer of the text tower.
        vision_prompts: prompts per layer of the image tower.
        depth: J, the number of layers of each tower, from the first on, that receive prompts; all
            layers if a tower has fewer.
        context_words: words before the class name. The first of them initialize the text prompts of
            layer 0, which replace them; the others remain as fixed tokens; "" draws at random.
    """

    text_prompts: int = 2
    vision_prompts: int = 2
    depth: int = 12
    context_words: str = "a photo of a"

    def __post_init__(self) -> None:
        for field in ("text_prompts", "vision_prompts", "depth"):
            if getattr(self, field) < 1:
                raise PromptError(f"{field}={getattr(self, field)} must be at least 1")


def init(rng: PRNGKeyArray, task: Task) -> dict[str, Float[Array, "layers prompts width"]]:
    """Draws {"text": float32[J, M, d_l], "vision": float32[J, N, d_v]} from words or N(0, 0.02)."""
    s, sizes = task.settings, task.clip.config
    context_rng, text_rng, vision_rng = jax.random.split(rng, 3)
    context = init_context(
        context_rng, task.clip, task.frozen, s.text_prompts, s.context_words, cut=True
    )
    text_depth, vision_depth = min(s.depth, sizes.text_layers), min(s.depth, sizes.image_layers)
    deep = jax.random.normal(text_rng, (text_depth - 1, *context.shape))
    vision = jax.random.normal(vision_rng, (vision_depth, s.vision_prompts, sizes.image_width))
    text = jnp.concatenate([context[None], STANDARD_DEVIATION * deep])
    return {"text": text, "vision": STANDARD_DEVIATION * vision}


def prepare(prompts: Prompts, task: Task) -> Float[Array, "classes dim"]:
    """Encodes the classes with the text prompts; the features are normalized."""
    clip, frozen, text = task.clip, task.frozen, prompts["text"]
    words = words_after(clip, frozen, text.shape[1], task.settings.context_words)
    context = jnp.concatenate([text[0], words])
    return normalize(encode_classes(clip, frozen, task.names, context, deep_prompts=text[1:]))


def forward(
    prompts: Prompts, prepared: Float[Array, "classes dim"], task: Task, images: Images
) -> Output:
    """Computes the similarity of images, encoded with the vision prompts, and classes."""
    features = encode_prompted_image(task.clip, task.frozen, images, prompts["vision"])
    return Output(cosine_logits(task, normalize(features), prepared)[None])


def context_slots(settings: Settings) -> int:
    """Counts the slots before the names: the text prompts and the fixed words after them."""
    return slots_before(settings.text_prompts, settings.context_words)


METHOD = Method(Settings, init, forward, prepare, context_slots=context_slots, spare_from=one)

RECORD = Record(
    "ivlp",
    "IVLP",
    'the baseline of Khattak et al., "MaPLe: Multi-modal Prompt Learning", CVPR 2023',
    (2022, 10, 1),
    METHOD,
    {"base_to_novel": Recipe(learning_rate=0.0035)},
    "both",
    context=DEEPER,
)

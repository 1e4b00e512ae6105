"""VPT: prompts in the image tower alone (Jia et al., ECCV 2022), as MaPLe's code compares with."""

import dataclasses

import jax

from prompt_jax.clip import normalize
from prompt_jax.errors import PromptError
from prompt_jax.methods.method import Method, Output, cosine_logits
from prompt_jax.methods.recipe import Recipe
from prompt_jax.methods.record import Record, halves
from prompt_jax.prompts import (
    PHOTO,
    STANDARD_DEVIATION,
    encode_prompted_image,
    encode_templates,
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """VPT's settings.

    Attributes:
        vision_prompts: prompts per layer.
        vision_depth: J, the first layers of the image tower that receive prompts; 1 is "shallow".
            A tower of fewer layers gets them in all.
    """

    vision_prompts: int = 8
    vision_depth: int = 12

    def __post_init__(self):
        for field in ("vision_prompts", "vision_depth"):
            if getattr(self, field) < 1:
                raise PromptError(f"{field}={getattr(self, field)} must be at least 1")


def init(rng, task):
    """{"vision": float32[J, N, d_v]}, from N(0, 0.02)."""
    s, sizes = task.settings, task.clip.config
    shape = (min(s.vision_depth, sizes.image_layers), s.vision_prompts, sizes.image_width)
    return {"vision": STANDARD_DEVIATION * jax.random.normal(rng, shape)}


def constants(task, class_names, template):
    """The frozen text features of "a photo of a {}.", float32[K, d], normalised."""
    del template
    return normalize(encode_templates(task.clip, task.frozen, (PHOTO,), class_names))


def forward(prompts, prepared, task, images):
    """Cosine similarity of the image, seen through the prompts, with every class."""
    del prepared
    features = encode_prompted_image(task.clip, task.frozen, images, prompts["vision"])
    return Output(cosine_logits(task, normalize(features), task.constants)[None])


METHOD = Method(Settings, init, forward, constants=constants)

RECORD = Record(
    "vpt",
    "VPT",
    'Jia et al., "Visual Prompt Tuning", ECCV 2022',
    (2022, 3),
    METHOD,
    {"base_to_novel": Recipe(learning_rate=0.0025)},
    "images",
    published=(halves(80.24, 73.43, 76.68, "VPT-deep as later papers quote it"),),
    texts=lambda settings, template: (PHOTO,),
)

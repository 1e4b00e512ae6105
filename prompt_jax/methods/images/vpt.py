"""VPT: prompts in the image tower only (Jia et al., ECCV 2022), as in MaPLe's code."""

import dataclasses
from collections.abc import Sequence

import jax
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
        vision_depth: J, the number of layers of the image tower, from the first on, that receive
            prompts; all layers if it has fewer. 1 is "shallow".
    """

    vision_prompts: int = 8
    vision_depth: int = 12

    def __post_init__(self) -> None:
        for field in ("vision_prompts", "vision_depth"):
            if getattr(self, field) < 1:
                raise PromptError(f"{field}={getattr(self, field)} must be at least 1")


def init(rng: PRNGKeyArray, task: Task) -> dict[str, Float[Array, "layers prompts image_width"]]:
    """Draws {"vision"} from N(0, 0.02)."""
    s, sizes = task.settings, task.clip.config
    shape = (min(s.vision_depth, sizes.image_layers), s.vision_prompts, sizes.image_width)
    return {"vision": STANDARD_DEVIATION * jax.random.normal(rng, shape)}


def constants(task: Task, class_names: Sequence[str], template: str) -> Float[Array, "classes dim"]:
    """Encodes "a photo of a {}." with frozen CLIP; the features are normalized."""
    del template
    return normalize(encode_templates(task.clip, task.frozen, (PHOTO,), class_names))


def forward(prompts: Prompts, prepared: None, task: Task, images: Images) -> Output:
    """Computes the similarity of images, encoded with the prompts, and classes."""
    del prepared
    features = encode_prompted_image(task.clip, task.frozen, images, prompts["vision"])
    return Output(cosine_logits(task, normalize(features), task.constants)[None])


METHOD = Method(Settings, init, forward, constants=constants, spare_from=one)

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

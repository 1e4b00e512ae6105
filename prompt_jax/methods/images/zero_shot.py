"""Zero-shot CLIP, without training (Radford et al., 2021)."""

import dataclasses
from collections.abc import Sequence

from jaxtyping import Array, Float

from prompt_jax.clip import normalize
from prompt_jax.errors import unknown
from prompt_jax.methods.method import (
    Method,
    Output,
    Prompts,
    Task,
    cosine_logits,
    no_prompts,
    one,
)
from prompt_jax.methods.recipe import Recipe
from prompt_jax.methods.record import Published, Record, domain_generalization, halves
from prompt_jax.prompts import PHOTO, encode_templates
from prompt_jax.text import templates

FIXED = {
    "photo": (PHOTO,),
    "imagenet": templates.IMAGENET,
    "imagenet_select": templates.IMAGENET_SELECT,
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Zero-shot CLIP's settings.

    Attributes:
        templates: the texts of a class. "dataset": the data set's own; "photo": "a photo of a {}.";
            "imagenet" and "imagenet_select": the mean of the normalized features of OpenAI's 80
            ImageNet templates, or of its 7 selected ones.
    """

    templates: str = "dataset"

    def __post_init__(self) -> None:
        if self.templates != "dataset" and self.templates not in FIXED:
            raise unknown("settings.templates", self.templates, ("dataset", *FIXED))


def constants(task: Task, class_names: Sequence[str], template: str) -> Float[Array, "classes dim"]:
    """Encodes the texts of the classes; the features are normalized."""
    texts = FIXED.get(task.settings.templates, (template,))
    return normalize(encode_templates(task.clip, task.frozen, texts, class_names))


def forward(
    prompts: Prompts, prepared: None, task: Task, features: Float[Array, "batch dim"]
) -> Output:
    """Computes the similarity of images and classes."""
    del prompts, prepared
    return Output(cosine_logits(task, normalize(features), task.constants)[None])


METHOD = Method(
    Settings, no_prompts, forward, input="features", constants=constants, spare_from=one
)

# N = 0 of ProMPT's Table 4.
TABLE_4 = {
    "imagenet": (72.43, 68.14, 70.22),
    "oxford_pets": (91.17, 97.26, 94.12),
    "food101": (90.10, 91.22, 90.66),
    "fgvc_aircraft": (27.19, 36.29, 31.09),
    "eurosat": (56.48, 64.05, 60.03),
}
PAPER = (
    'Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", '
    "ICML 2021"
)

RECORD = Record(
    "zero_shot",
    "zero-shot CLIP",
    PAPER,
    (2021, 2),
    METHOD,
    {"base_to_novel": Recipe()},  # nothing trains
    "features",
    published=(
        halves(69.34, 74.22, 71.70, "ProMPT (ICMR 2024), Table 1"),
        Published("base_to_novel", TABLE_4, "ProMPT (ICMR 2024), Table 4"),
        domain_generalization(
            "ProMPT (ICMR 2024), Table 3", 66.73, 60.83, 46.15, 47.77, 73.96, 57.18
        ),
    ),
    sees_in_training="nothing",
    texts=lambda settings, template: FIXED.get(settings.templates, (template,)),
)

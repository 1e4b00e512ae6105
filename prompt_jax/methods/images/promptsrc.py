"""PromptSRC: IVLP regularized towards the frozen CLIP (Khattak et al., ICCV 2023)."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from prompt_jax.clip import normalize
from prompt_jax.errors import PromptError
from prompt_jax.methods.images import ivlp
from prompt_jax.methods.method import (
    Images,
    Method,
    Output,
    Prompts,
    Task,
    cosine_logits,
    one,
)
from prompt_jax.methods.recipe import Recipe, average_epochs
from prompt_jax.methods.record import DEEPER, Record, halves
from prompt_jax.prompts import encode_prompted_image, encode_templates
from prompt_jax.text import templates

TEACHER_TEMPLATES = templates.IMAGENET[:60]
"""The first 60 of OpenAI's ImageNet templates, as in the published code."""


@dataclasses.dataclass(frozen=True)
class Settings(ivlp.Settings):
    """PromptSRC's settings: those of IVLP, with other defaults, and those of its losses.

    Attributes:
        text_weight: weight of the mean absolute difference between prompted and frozen text
            features, at least 0.
        image_weight: weight of the same difference between image features, at least 0.
        logits_weight: weight of the divergence from the frozen CLIP's predictions, at least 0.
        average_mean: mean, in epochs, of the Gaussian that weights the prompts of each epoch; it
            does not depend on the number of epochs.
        average_std: its standard deviation in epochs, above 0.
    """

    text_prompts: int = 4
    vision_prompts: int = 4
    depth: int = 9
    text_weight: float = 25.0
    image_weight: float = 10.0
    logits_weight: float = 1.0
    average_mean: float = 15.0
    average_std: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("text_weight", "image_weight", "logits_weight"):
            if getattr(self, name) < 0:
                raise PromptError(f"settings.{name}={getattr(self, name)} must be at least 0")
        if self.average_std <= 0:
            raise PromptError(
                f"settings.average_std={self.average_std} must be above 0; a small value keeps the "
                "prompts of one epoch"
            )


def constants(task: Task, class_names: Sequence[str], template: str) -> Float[Array, "classes dim"]:
    """Computes the teacher's text features: the normalized mean over ImageNet templates.

    As in the published code, features are averaged before normalization.
    """
    del template
    return normalize(
        encode_templates(task.clip, task.frozen, TEACHER_TEMPLATES, class_names, normalized=False)
    )


def forward(
    prompts: Prompts, prepared: Float[Array, "classes dim"], task: Task, images: Images
) -> Output:
    """Computes IVLP's logits, and the regularizers "text", "image" and "logits".

    The frozen CLIP sees the same augmented images as the prompted one.
    """
    s, clip, frozen = task.settings, task.clip, task.frozen
    features = normalize(encode_prompted_image(clip, frozen, images, prompts["vision"]))
    frozen_features = normalize(clip.encode_image(frozen, images))
    logits = cosine_logits(task, features, prepared)
    frozen_logits = cosine_logits(task, frozen_features, task.constants)
    losses = {
        "text": s.text_weight * jnp.mean(jnp.abs(prepared - task.constants)),
        "image": s.image_weight * jnp.mean(jnp.abs(features - frozen_features)),
        "logits": s.logits_weight * divergence(logits, frozen_logits),
    }
    return Output(logits[None], losses=losses)


def divergence(
    logits: Float[Array, "batch classes"], teacher: Float[Array, "batch classes"]
) -> Float[Array, ""]:
    """Computes KL(teacher || student), averaged over batch and classes as in the published code."""
    log_student, log_teacher = jax.nn.log_softmax(logits), jax.nn.log_softmax(teacher)
    return jnp.mean(jnp.exp(log_teacher) * (log_teacher - log_student))


def epoch_weights(settings: Settings, epochs: int) -> Float[np.ndarray, " {epochs}"]:
    """Computes the weights of epochs, which sum to 1: a Gaussian over 1..epochs (section 3.3)."""
    distance = (np.arange(1, epochs + 1) - settings.average_mean) / settings.average_std
    exponents = -0.5 * distance**2
    # Subtracting the largest exponent avoids that all weights underflow far from the mean.
    weights = np.exp(exponents - np.max(exponents))
    return weights / weights.sum()


def optimizer(
    rule: optax.GradientTransformation, settings: Settings, epochs: int, steps_per_epoch: int
) -> optax.GradientTransformation:
    """Averages the prompts of all epochs."""
    return average_epochs(rule, epoch_weights(settings, epochs), steps_per_epoch)


METHOD = Method(
    Settings,
    ivlp.init,
    forward,
    ivlp.prepare,
    constants=constants,
    optimizer=optimizer,
    context_slots=ivlp.context_slots,
    spare_from=one,
)

# The few-shot settings are those published for ImageNet, Caltech101, OxfordPets, Food101, UCF101
# and SUN397. For other data sets, average_mean = 45 and average_std = 5 were published.
TRAINED = Recipe(20, 4, 0.0025)
TRANSFER = TRAINED.but(settings={"depth": 3, "average_mean": 6.0, "average_std": 10.0})
RECORD = Record(
    "promptsrc",
    "PromptSRC",
    'Khattak et al., "Self-regulating Prompts: Foundational Model Adaptation without Forgetting", '
    "ICCV 2023",
    (2023, 7),
    METHOD,
    {
        "base_to_novel": TRAINED,
        "few_shot": TRAINED.but(epochs=50, settings={"average_mean": 30.0, "average_std": 30.0}),
        "cross_dataset": TRANSFER,
        "domain_generalization": TRANSFER,
    },
    "both",
    context=DEEPER,
    published=(halves(84.26, 76.10, 79.97, "PromptSRC (ICCV 2023)"),),
    export="ivlp",
)

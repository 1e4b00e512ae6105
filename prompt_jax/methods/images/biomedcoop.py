"""BiomedCoOp: CoOp that learns from sentences about each class (Koleilat et al., CVPR 2025)."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from prompt_jax.clip import normalize
from prompt_jax.errors import PromptError, shorten
from prompt_jax.methods.images.kgcoop import init, prepare
from prompt_jax.methods.method import Method, Output, Prompts, Task, cosine_logits
from prompt_jax.methods.recipe import Recipe
from prompt_jax.methods.record import Published, Record
from prompt_jax.text.class_texts import CLASSES
from prompt_jax.text_features import encode_each


@dataclasses.dataclass(frozen=True)
class Settings:
    """BiomedCoOp's settings; the class name is at the end, and all classes share the context.

    The published weights and threshold differ between data sets: both weights from 0.25 to 20, the
    threshold from 1.25 to 2. The defaults are ours, in the middle.

    Attributes:
        context_length: number of context vectors M, at least 1.
        context_words: words whose embeddings initialize the last vectors; "" draws all at random.
        consistency_weight: λ1, the weight of the distance to the mean of the sentences, at least 0.
        distillation_weight: λ2, the weight of the divergence from the sentences' prediction, at
            least 0.
        threshold: τ, the largest z-score of a kept sentence, at least 1: a lower one could drop
            all sentences.
    """

    context_length: int = 4
    context_words: str = "a photo of a"
    consistency_weight: float = 2.0
    distillation_weight: float = 2.0
    threshold: float = 1.5

    def __post_init__(self) -> None:
        if self.context_length < 1:
            raise PromptError(f"settings.context_length={self.context_length} must be at least 1")
        for name, least in (
            ("consistency_weight", 0),
            ("distillation_weight", 0),
            ("threshold", 1),
        ):
            if not getattr(self, name) >= least:
                raise PromptError(f"settings.{name}={getattr(self, name)} must be at least {least}")


class Sentences(NamedTuple):
    """The frozen features of the classes' sentences, normalized.

    Attributes:
        each: a classifier of the first sentence of every class, one of the second, and so on.
        mean: the normalized mean over sentences.
    """

    each: Float[Array, "sentences classes dim"]
    mean: Float[Array, "classes dim"]


def constants(task: Task, class_names: Sequence[str], template: str) -> Sentences | None:
    """Encodes the sentences; None for classes without training, which need none.

    Raises:
        PromptError: a training class has no sentences, or fewer or more than another one.
    """
    del template
    if task.texts is None:
        return None
    texts = task.texts.of(class_names)
    numbers = [len(one) for one in texts]
    most, least = max(numbers), min(numbers)
    if least < most:
        one, other = (class_names[numbers.index(number)] for number in (least, most))
        raise PromptError(
            f"{task.texts.where} has {least} sentences of class {shorten(one)} and {most} of class "
            f"{shorten(other)}; the method needs the same number for every class, because sentence "
            "i of all classes makes one classifier"
        )
    if not most:
        raise PromptError(f"{task.texts.where} has no sentences of the classes; add some to each")
    flat = [one[number] for number in range(most) for one in texts]
    features = encode_each(task.clip, task.frozen, flat, "sentences of the classes")
    each = features.reshape(most, len(texts), -1)
    return Sentences(each, normalize(jnp.mean(each, axis=0)))


def standardize(scores: Float[Array, " sentences"]) -> Float[Array, " sentences"]:
    """Computes z-scores with the divisor N - 1; 0 for equal scores or a single one."""
    centered = scores - jnp.mean(scores)
    variance = jnp.sum(centered**2) / max(len(scores) - 1, 1)
    return jnp.where(variance > 0, centered / jnp.sqrt(jnp.where(variance > 0, variance, 1)), 0)


def score(
    task: Task, images: Float[Array, "batch dim"], each: Float[Array, "sentences classes dim"]
) -> Float[Array, " sentences"]:
    """Computes the mean over images of the largest logit of each sentence's classifier."""
    return jax.lax.map(lambda one: jnp.mean(jnp.max(cosine_logits(task, images, one), -1)), each)


def teach(
    task: Task, images: Float[Array, "batch dim"], sentences: Sentences
) -> Float[Array, "batch classes"]:
    """Computes the teacher's logits from the sentences whose scores are near the others'.

    The published code first maps scores by their median and the median deviation. This map is
    affine, and the z-scores are the same without it.
    """
    kept = jnp.abs(standardize(score(task, images, sentences.each))) <= task.settings.threshold
    total = jnp.einsum("i,ikd->kd", kept.astype(jnp.float32), sentences.each, precision="highest")
    return cosine_logits(task, images, normalize(total))


def forward(
    prompts: Prompts,
    prepared: Float[Array, "classes dim"],
    task: Task,
    features: Float[Array, "batch dim"],
) -> Output:
    """Computes the similarity of images and classes, and the losses of training.

    "consistency" is λ1 times the mean squared difference of all entries of prompted features and
    those of the sentences; "distillation" is λ2 / (B K) times the sum of KL(teacher ‖ prompted).
    """
    del prompts
    images = normalize(features)
    logits = cosine_logits(task, images, prepared)
    if task.constants is None:
        return Output(logits[None])
    s, sentences = task.settings, task.constants
    teacher = jax.nn.log_softmax(teach(task, images, sentences))
    divergence = jnp.exp(teacher) * (teacher - jax.nn.log_softmax(logits))
    losses = {
        "consistency": s.consistency_weight * jnp.mean((prepared - sentences.mean) ** 2),
        "distillation": s.distillation_weight * jnp.mean(divergence),
    }
    return Output(logits[None], losses=losses)


METHOD = Method(
    Settings,
    init,
    forward,
    prepare,
    input="features",
    constants=constants,
    context_slots=lambda settings: settings.context_length,
    texts=CLASSES,
    texts_in_training_only=True,
)

MEDICAL, BIOMEDCLIP = "average of 11 medical data sets", "BiomedCLIP"
PAGE = "README of HealthX-Lab/BiomedCoOp"
TRAINED = Recipe(100, 4, 0.0025, data={"flip": False})
RECORD = Record(
    "biomedcoop",
    "BiomedCoOp",
    'Koleilat et al., "BiomedCoOp: Learning to Prompt for Biomedical Vision-Language Models", '
    "CVPR 2025",
    (2024, 11),
    METHOD,
    {"few_shot": TRAINED, "base_to_novel": TRAINED.but(epochs=50)},
    "text",
    # With BiomedCLIP on medical data sets, which are not here: tables show none of these figures.
    published=(
        Published("few_shot", {MEDICAL: (59.13, 63.95, 68.32, 72.42)}, PAGE, backbone=BIOMEDCLIP),
        Published("base_to_novel", {MEDICAL: (76.26, 73.92, 75.07)}, PAGE, backbone=BIOMEDCLIP),
    ),
    export="kgcoop",
)

"""PerceptionCLIP: classifies given the context of the object, which it infers first, without
training (An et al., "PerceptionCLIP: Visual Classification by Inferring and Conditioning on
Contexts", ICLR 2024).
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from prompt_jax.clip import normalize
from prompt_jax.errors import PromptError, unknown
from prompt_jax.mesh import DATA, MODEL, constrain
from prompt_jax.methods.method import Method, Output, Prompts, Task, no_prompts
from prompt_jax.methods.recipe import Recipe
from prompt_jax.methods.record import Record
from prompt_jax.text.class_names import fill
from prompt_jax.text.class_texts import FACTORS, Texts
from prompt_jax.text_features import encode_means

WITH_Y, WITHOUT_Y = INFERENCES = ("with_y", "without_y")
MOST_TEXTS = 20_000  # of a class
MOST_BYTES = 2**35  # of the features of all classes and contexts


@dataclasses.dataclass(frozen=True)
class Settings:
    """PerceptionCLIP's settings.

    Attributes:
        factors: names of the factors that make a context, in the order of their descriptions in a
            text, separated by commas; "" for all of the file.
        inference: how likely a context z is: "with_y": by the sum over the classes; "without_y": by
            the text with a general word for the class.
        temperature: of the inference, above 0. The published scripts run 1, 3, 5 and 10.
    """

    factors: str = ""
    inference: str = WITH_Y
    temperature: float = 3.0

    def __post_init__(self) -> None:
        if self.inference not in INFERENCES:
            raise unknown("settings.inference", self.inference, INFERENCES)
        if not 0 < self.temperature < math.inf:
            raise PromptError(f"settings.temperature={self.temperature} must be above 0")


class Contexts(NamedTuple):
    """The encoded texts.

    Attributes:
        classes: normalized features of each class in each context.
        values: those of the general word in each context; None with "with_y".
    """

    classes: Float[Array, "classes contexts dim"]
    values: Float[Array, "contexts dim"] | None


def describe_contexts(texts: Texts, settings: Settings) -> list[list[str]]:
    """Returns the descriptions of each context, "" for none.

    A context is a combination of one value of each factor, the last factor's change fastest; its
    descriptions are all combinations of those of its values.

    Raises:
        PromptError: the file has no such factor, or there are too many combinations.
    """
    there = dict(texts.content["factors"])
    names = [name.strip() for name in settings.factors.split(",")] if settings.factors else there
    for number, name in enumerate(names):
        if name not in there:
            raise unknown(f"factor in settings.factors, of {texts.where}:", name, there)
        if name in list(names)[:number]:
            raise PromptError(f"settings.factors={settings.factors} names {name} twice")
    number = math.prod(sum(len(words) for _, words in there[name]) for name in names)
    if number > MOST_TEXTS:
        sizes = ", ".join(f"{name} ({sum(len(w) for _, w in there[name])})" for name in names)
        raise PromptError(
            f"settings.factors={settings.factors!r}: all combinations of {sizes} are {number:,} "
            f"texts per class, at most {MOST_TEXTS:,}; name fewer factors"
        )
    contexts = []
    for values in itertools.product(*(there[name] for name in names)):
        parts = itertools.product(*(words for _, words in values))
        contexts.append([", ".join(filter(None, words)) for words in parts])
    if empty := [context for context in contexts if not context]:
        raise PromptError(f"{texts.where}: {len(empty)} values have no description; add one or ''")
    return contexts


def complete(main: str, description: str) -> str:
    """Returns a text with its description and a full stop."""
    return f"{main}, {description}." if description else f"{main}."


def constants(task: Task, class_names: Sequence[str], template: str) -> Contexts:
    """Encodes each class in each context, and the general word if it is needed."""
    del template  # the file has its own
    texts, s = task.texts, task.settings
    assert texts is not None
    contexts = describe_contexts(texts, s)
    width = task.clip.config.embed_dim
    if (size := 4 * len(class_names) * len(contexts) * width) > MOST_BYTES:
        raise PromptError(
            f"settings.factors={s.factors!r}: features of {len(class_names):,} classes in "
            f"{len(contexts):,} contexts take {size / 1e9:.0f} GB; name fewer factors"
        )
    mains = [fill(texts.content["main"], name) for name in class_names]

    def encode(mains: Sequence[str], what: str) -> Float[Array, "mains contexts dim"]:
        groups = [[complete(main, one) for one in each] for main in mains for each in contexts]
        means = normalize(encode_means(task.clip, task.frozen, groups, what))
        return means.reshape(len(mains), len(contexts), width)

    classes = encode(mains, "texts of the classes")
    if s.inference == WITH_Y:
        return Contexts(classes, None)
    word = fill(texts.content["main"], texts.content["convert_text"])
    return Contexts(classes, encode([word], "texts of contexts")[0])


def forward(
    prompts: Prompts, prepared: None, task: Task, features: Float[Array, "batch dim"]
) -> Output:
    """Computes log P(y) = log Σ_z P(z) P(y|z)."""
    del prompts, prepared
    images, contexts, s = normalize(features), task.constants, task.settings
    cosines = jnp.einsum("bd,kzd->bkz", images, contexts.classes, precision="highest")
    similarities = constrain(task.clip.mesh, task.scale * cosines, DATA, MODEL, None)
    if contexts.values is None:
        scores = logsumexp(similarities / s.temperature, axis=1)
    else:
        cosines = jnp.einsum("bd,zd->bz", images, contexts.values, precision="highest")
        scores = task.scale * cosines / s.temperature
    context = jax.nn.log_softmax(scores, axis=-1)[:, None]
    given = jax.nn.log_softmax(similarities, axis=1)
    logits = constrain(task.clip.mesh, logsumexp(context + given, axis=-1), DATA, MODEL)
    return Output(logits[None])


def export(task: Task) -> dict[str, Array]:
    """Returns the features for the PyTorch code."""
    found = task.constants
    return {"classes": found.classes} | ({} if found.values is None else {"values": found.values})


METHOD = Method(Settings, no_prompts, forward, input="features", constants=constants, texts=FACTORS)

RECORD = Record(
    "perception_clip",
    "PerceptionCLIP",
    'An et al., "PerceptionCLIP: Visual Classification by Inferring and Conditioning on Contexts", '
    "ICLR 2024",
    (2023, 8),
    METHOD,
    {"base_to_novel": Recipe()},  # nothing trains
    "features",
    sees_in_training="nothing",
    exported=export,
)

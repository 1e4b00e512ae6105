"""Classification by descriptions: the mean similarity with texts that describe a class, without
training (Menon & Vondrick, "Visual Classification via Description from Large Language Models",
ICLR 2023), or with sentences about it (CuPL: Pratt et al., "What does a platypus look like?", ICCV
2023).
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from prompt_jax.clip import normalize
from prompt_jax.errors import PromptError, shorten, unknown
from prompt_jax.methods.method import Method, Output, Prompts, Task, cosine_logits, no_prompts
from prompt_jax.methods.recipe import Recipe
from prompt_jax.methods.record import Record, dataset_text
from prompt_jax.text import templates
from prompt_jax.text.class_names import fill, spaced
from prompt_jax.text.class_texts import CLASSES, note_empty
from prompt_jax.text_features import encode_each, encode_means

MEAN_OF_COSINES, CUPL = MODES = ("mean_of_cosines", "cupl")
AGGREGATES = ("mean", "max", "sum")
TEMPLATES = ("none", "dataset", "imagenet", "imagenet_select")

# The published rule compares beginnings of texts: "antlers" counts as beginning with "a".
IS, BARE = ("a", "used"), ("has", "often", "typically", "may", "can")


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings of classification by descriptions.

    Attributes:
        mode: "mean_of_cosines": the texts are short descriptions, which become "cat, which has
            whiskers", and a class's score is the mean of their cosines. "cupl": the texts are
            complete sentences, and a class's feature is the normalized mean of their features.
        full_stop: mean_of_cosines: whether texts end with a full stop; published for ImageNet
            only.
        aggregate: mean_of_cosines: the score is the "mean", "max" or "sum" of the cosines;
            published is the mean.
        templates: cupl: filled templates that are averaged with the sentences, one text each:
            "none"; "dataset": the data set's own; "imagenet", "imagenet_select": OpenAI's 80, or
            its 7 selected ones.
    """

    mode: str = MEAN_OF_COSINES
    full_stop: bool = False
    aggregate: str = "mean"
    templates: str = "none"

    def __post_init__(self) -> None:
        for name, allowed in (("mode", MODES), ("aggregate", AGGREGATES), ("templates", TEMPLATES)):
            if getattr(self, name) not in allowed:
                raise unknown(f"settings.{name}", getattr(self, name), allowed)
        own = {MEAN_OF_COSINES: ("full_stop", "aggregate"), CUPL: ("templates",)}
        usual = {"full_stop": False, "aggregate": "mean", "templates": "none"}
        for mode, names in own.items():
            for name in names if mode != self.mode else ():
                if getattr(self, name) != usual[name]:
                    raise PromptError(
                        f"settings.{name}={getattr(self, name)} has no effect with settings.mode="
                        f"{self.mode}; leave it at {usual[name]}, or use mode={mode}"
                    )


class Classes(NamedTuple):
    """The encoded texts of the classes.

    Attributes:
        features: float32[N, d]: one per class, or one per text for "max".
        owner: the class of each feature for "max", else None.
    """

    features: Float[Array, "texts dim"]
    owner: Int[Array, " texts"] | None


def describe(name: str, description: str, full_stop: bool = False) -> str:
    """Returns the text of a description: "cat, which has whiskers"."""
    if description.startswith(IS):
        words = f"which is {description}"
    elif description.startswith(BARE):
        words = f"which {description}"
    else:
        words = f"which has {description}"
    return f"{spaced(name)}, {words}{'.' if full_stop else ''}"


def texts_of(task: Task, class_names: Sequence[str], template: str) -> list[list[str]]:
    """Returns the texts of each class.

    Raises:
        PromptError: a class has none; in mode mean_of_cosines, it only needs an entry.
    """
    assert task.texts is not None
    s, found = task.settings, task.texts.of(class_names)
    if s.mode == MEAN_OF_COSINES:
        note_empty(task.texts, class_names)
        # As published, a class with an empty list has one text, "cat, which has ".
        return [
            [describe(name, text, s.full_stop) for text in texts or ("",)]
            for name, texts in zip(class_names, found, strict=True)
        ]
    sets = {
        "none": (),
        "dataset": (template,),
        "imagenet": templates.IMAGENET,
        "imagenet_select": templates.IMAGENET_SELECT,
    }
    filled = [[fill(one, name) for one in sets[s.templates]] for name in class_names]
    all_texts = [[*texts, *more] for texts, more in zip(found, filled, strict=True)]
    for name, texts in zip(class_names, all_texts, strict=True):
        if not texts:
            raise PromptError(
                f"{task.texts.where} has no sentence of class {shorten(name)}; add one, or set "
                "settings.templates"
            )
    return all_texts


def constants(task: Task, class_names: Sequence[str], template: str) -> Classes:
    """Encodes the texts; each text's feature is normalized before they are averaged."""
    texts = texts_of(task, class_names, template)
    what = "texts of the classes"
    if task.settings.aggregate == "max":
        owner = np.repeat(np.arange(len(texts)), [len(one) for one in texts])
        flat = [text for one in texts for text in one]
        return Classes(encode_each(task.clip, task.frozen, flat, what), jnp.asarray(owner))
    means = encode_means(task.clip, task.frozen, texts, what)
    if task.settings.mode == CUPL:
        return Classes(normalize(means), None)
    if task.settings.aggregate == "sum":
        means = means * jnp.asarray([[float(len(one))] for one in texts])
    return Classes(means, None)


def forward(
    prompts: Prompts, prepared: None, task: Task, features: Float[Array, "batch dim"]
) -> Output:
    """Computes the similarity of images and classes."""
    del prompts, prepared
    classes = task.constants
    logits = cosine_logits(task, normalize(features), classes.features)
    if classes.owner is not None:
        number = len(task.trained)
        logits = jax.ops.segment_max(logits.T, classes.owner, number, indices_are_sorted=True).T
    return Output(logits[None])


def export(task: Task) -> dict[str, Array]:
    """Returns the features for the PyTorch code, and for "max" the class of each."""
    found = task.constants
    if found.owner is None:
        return {"classes": found.features}
    return {"features": found.features, "owner": found.owner.astype(jnp.float32)}


METHOD = Method(Settings, no_prompts, forward, input="features", constants=constants, texts=CLASSES)

RECORD = Record(
    "description",
    "Classification by description, CuPL",
    'Menon & Vondrick, "Visual Classification via Description from Large Language Models", ICLR '
    "2023",
    (2022, 10),
    METHOD,
    {"base_to_novel": Recipe()},  # nothing trains
    "features",
    sees_in_training="nothing",
    texts=dataset_text,
    exported=export,
)

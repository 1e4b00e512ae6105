"""FuDD: the texts of a class depend on the other likely classes of the image, without training
(Esfandiarpoor & Bach, "Follow-Up Differential Descriptions: Language Models Resolve Ambiguities for
Image Classification", ICLR 2024).
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from prompt_jax.clip import normalize
from prompt_jax.errors import PromptError, shorten, unknown
from prompt_jax.methods.method import Method, Output, Prompts, Task, cosine_logits, no_prompts
from prompt_jax.methods.recipe import Recipe
from prompt_jax.methods.record import Record
from prompt_jax.prompts import PHOTO
from prompt_jax.text.class_names import AMBIGUOUS, Classes, fill, find
from prompt_jax.text.class_texts import PAIRS
from prompt_jax.text_features import encode_each, encode_means

TEMPLATES = ("photo", "dataset")
OTHERS = ("ranked", "excluded")
EXCLUDED = -1e4
"""A logit whose probability is 0 in float32; minus infinity would make mean losses infinite."""

MOST_GATHERED = 2**26  # bytes of text features that are gathered at once


@dataclasses.dataclass(frozen=True)
class Settings:
    """FuDD's settings.

    Attributes:
        ambiguous: number k of the most likely classes of an image by zero-shot CLIP, which texts
            about pairs of them classify. All of them if there are fewer; 0: all classes are
            ambiguous in one step, without a choice by image.
        others: logits of the other classes, for which the paper has none. "ranked": in the order of
            zero-shot CLIP, below the lowest of the k. "excluded": probability 0.
        template: text of zero-shot CLIP, and of a class in a pair without texts: "photo", "a photo
            of a {}." as published, or the "dataset"'s own.
    """

    ambiguous: int = 10
    others: str = "ranked"
    template: str = "photo"

    def __post_init__(self) -> None:
        if self.ambiguous < 0 or self.ambiguous == 1:
            raise PromptError(
                f"settings.ambiguous={self.ambiguous} must be at least 2, or 0 for all classes in "
                "one step"
            )
        for name, allowed in {"others": OTHERS, "template": TEMPLATES}.items():
            if getattr(self, name) not in allowed:
                raise unknown(f"settings.{name}", getattr(self, name), allowed)


class Differences(NamedTuple):
    """The encoded texts, with S slots per class.

    Attributes:
        first: features of zero-shot CLIP; in one step the only ones, of all texts of a class.
        features: float32[N, d] of the different texts; None in one step.
        slots: the text in each slot of a class.
        against: whether the text in a slot is said of its class against each other class.
    """

    first: Float[Array, "classes dim"]
    features: Float[Array, "texts dim"] | None = None
    slots: Int[Array, "classes slots"] | None = None
    against: Bool[Array, "classes slots classes"] | None = None


def find_pairs(task: Task, class_names: Sequence[str]) -> dict[tuple[int, int], list[str]]:
    """Returns the different texts of class i against class j, for all pairs of these classes.

    Raises:
        PromptError: a class is not in the file.
    """
    texts = task.texts
    assert texts is not None
    known = texts.content["class_names"]
    labels = find(Classes(tuple(known)), Classes(tuple(class_names)))
    if AMBIGUOUS in labels:
        name = class_names[labels.index(AMBIGUOUS)]
        raise PromptError(
            f"{texts.where}: several of its classes are called {shorten(name)}; keep one of them, "
            "or give the data set as many"
        )
    missing = [name for name, label in zip(class_names, labels, strict=True) if label < 0]
    if missing:
        raise texts.missing(missing, known, len(class_names))
    place = {label: number for number, label in enumerate(labels)}
    found: dict[tuple[int, int], list[str]] = {}
    for i, j, pairs in texts.content["pairs"]:
        if i in place and j in place:
            found[place[i], place[j]] = list(dict.fromkeys(pair[0] for pair in pairs))
            found[place[j], place[i]] = list(dict.fromkeys(pair[1] for pair in pairs))
    return found


def constants(task: Task, class_names: Sequence[str], template: str) -> Differences:
    """Encodes the texts of all pairs of classes."""
    pairs, number = find_pairs(task, class_names), len(class_names)
    text = template if task.settings.template == "dataset" else PHOTO
    plain = [fill(text, name) for name in class_names]
    # Each text of a class, and the classes that it is said against.
    said: list[dict[str, list[int]]] = [{} for _ in class_names]
    one_step = task.settings.ambiguous == 0
    for i in range(number):
        for j in range(number):
            if i != j:
                stands_in = [] if one_step else [plain[i]]
                for each in pairs.get((i, j)) or stands_in:
                    said[i].setdefault(each, []).append(j)
    what = "texts of pairs of classes"
    if one_step:
        groups = [list(texts) or [plain[i]] for i, texts in enumerate(said)]
        return Differences(normalize(encode_means(task.clip, task.frozen, groups, what)))
    # One class has no pair.
    all_texts = list(dict.fromkeys(text for texts in said for text in texts)) or plain
    row = {text: number for number, text in enumerate(all_texts)}
    most = max(1, *(len(texts) for texts in said))
    slots = np.zeros((number, most), np.int32)
    against = np.zeros((number, most, number), bool)
    for i, texts in enumerate(said):
        for slot, (text, others) in enumerate(texts.items()):
            slots[i, slot] = row[text]
            against[i, slot, others] = True
    features = encode_each(task.clip, task.frozen, [*plain, *all_texts], what)
    first, features = features[:number], features[number:]
    return Differences(first, features, jnp.asarray(slots), jnp.asarray(against))


def forward(
    prompts: Prompts, prepared: None, task: Task, features: Float[Array, "batch dim"]
) -> Output:
    """Computes the logits of the ambiguous classes by their texts against each other."""
    del prompts, prepared
    images, differences = normalize(features), task.constants
    first = cosine_logits(task, images, differences.first)
    number = first.shape[-1]
    if differences.features is None or number == 1:
        return Output(first[None])
    k = min(task.settings.ambiguous, number)
    _, chosen = jax.lax.top_k(first, k)

    def compare(image: Float[Array, " dim"], chosen: Int[Array, " k"]) -> Float[Array, " k"]:
        # Sums over a class's texts against any of the other chosen classes, each text once.
        used = jnp.any(differences.against[chosen][:, :, chosen], axis=-1)
        texts = differences.features[differences.slots[chosen]]
        sums = jnp.einsum("ks,ksd->kd", used.astype(texts.dtype), texts, precision="highest")
        return jnp.einsum("d,kd->k", image, normalize(sums), precision="highest")

    pairs, batch = (images, chosen), images.shape[0]
    if isinstance(batch, int):
        gathered = k * differences.slots.shape[1] * images.shape[-1] * 4
        at_once = max(1, MOST_GATHERED // gathered)
        cosines = jax.lax.map(lambda pair: compare(*pair), pairs, batch_size=at_once)
    else:  # a program for any batch size is exported
        cosines = jax.vmap(compare)(*pairs)
    logits = task.scale * cosines
    if task.settings.others == "excluded":
        rest = jnp.full_like(first, EXCLUDED)
    else:
        # The best of the others is 1 below the lowest of the chosen ones.
        best = jnp.max(_put(first, chosen, EXCLUDED), axis=-1, keepdims=True)
        rest = first - best + jnp.min(logits, axis=-1, keepdims=True) - 1
    return Output(_put(rest, chosen, logits)[None])


def _put(
    rows: Float[Array, "batch classes"],
    chosen: Int[Array, "batch k"],
    values: Float[Array, "batch k"] | float,
) -> Float[Array, "batch classes"]:
    """Returns the logits with others for the chosen classes of each image."""
    values = jnp.broadcast_to(jnp.asarray(values, rows.dtype), chosen.shape)
    return jax.vmap(lambda row, at, new: row.at[at].set(new))(rows, chosen, values)


def export(task: Task) -> dict[str, Array]:
    """Returns the text features for the PyTorch code, and the slots as numbers."""
    found = task.constants
    arrays = {name: array for name, array in found._asdict().items() if array is not None}
    return {name: array.astype(jnp.float32) for name, array in arrays.items()}


METHOD = Method(Settings, no_prompts, forward, input="features", constants=constants, texts=PAIRS)

RECORD = Record(
    "fudd",
    "FuDD",
    'Esfandiarpoor & Bach, "Follow-Up Differential Descriptions: Language Models Resolve '
    'Ambiguities for Image Classification", ICLR 2024',
    (2023, 11),
    METHOD,
    {"base_to_novel": Recipe()},  # nothing trains
    "features",
    sees_in_training="nothing",
    exported=export,
)

"""What a model says of images: a row each, and a table to look at."""

import dataclasses
import functools
import math
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np

from prompt_jax.errors import BadImage, PromptError, escape, shorten
from prompt_jax.text.class_names import distinct

SHOWN_ROWS = 20


@dataclasses.dataclass(frozen=True)
class Prediction:
    """Of one image or video.

    Attributes:
        source: its path; of an array or an image in memory its number, as "#0".
        classes: the likeliest, first the best; of names that repeat, as ImageNet's "missile" does,
            the label stands behind the name: "missile (label 657)".
        labels: theirs, places among the classes that were asked for.
        probabilities: theirs, 0 to 1.
        similarity: where one class alone was asked for, the cosine of the image with its text,
            -1 to 1; else None. See `Predictions.similarities`.
        iterations: of each of the method's iterations the likeliest class and its probability; of
            most methods there is one.
        error: why it could not be read; "" where it was, and else there are no classes.
    """

    source: str
    classes: tuple[str, ...] = ()
    probabilities: tuple[float, ...] = ()
    iterations: tuple[tuple[str, float], ...] = ()
    error: str = ""
    labels: tuple[int, ...] = ()
    similarity: float | None = None

    def __str__(self) -> str:
        """One line, safe to print: the source, and classes with percent; of one its similarity."""
        if self.error:
            return f"{escape(self.source)}: {escape(self.error)}"
        if self.similarity is not None:
            # "100.0 %" would say nothing of an image.
            return f"{escape(self.source)}: {escape(self.classes[0])} {self.similarity:.3f}"
        pairs = zip(self.classes, self.probabilities, strict=True)
        said = ", ".join(f"{escape(name)} {probability:.1%}" for name, probability in pairs)
        return f"{escape(self.source)}: {said}"


@dataclasses.dataclass(frozen=True)
class Predictions(Sequence[Prediction]):
    """Of P images or videos among K classes; a sequence of `Prediction`.

    Attributes:
        sources: of each image, see `Prediction`.
        class_names: K of them.
        logits: float32[iterations, P, K]; the last is the answer, the first of ProMPT's is
            zero-shot CLIP's. NaN where an image could not be read.
        top_k: how many classes a `Prediction` lists.
        errors: what could not be read, by its place.
        similarities: of one class alone, whose probability is always 1: float32[P], cosines of the
            images and its text, as the method sees both; those of frozen CLIP where the method
            adds to the cosine (tip_adapter, gda). NaN where an image could not be read, and of
            methods from elsewhere. None of several classes.
    """

    sources: tuple[str, ...]
    class_names: tuple[str, ...]
    logits: np.ndarray
    top_k: int
    errors: Mapping[int, BadImage]
    similarities: np.ndarray | None = None

    @property
    def probabilities(self) -> np.ndarray:
        """float32[P, K], of the last iteration; rows sum to 1."""
        return softmax(self.logits[-1])

    @property
    def labels(self) -> np.ndarray:
        """int[P], the likeliest class; -1 where an image could not be read."""
        labels = np.argmax(self.logits[-1], axis=-1)
        labels[list(self.errors)] = -1
        return labels

    def __len__(self) -> int:
        """P."""
        return len(self.sources)

    @overload
    def __getitem__(self, place: int) -> Prediction: ...

    @overload
    def __getitem__(self, place: slice) -> list[Prediction]: ...

    def __getitem__(self, place):
        """Of one image, or of several."""
        if isinstance(place, slice):
            return [self[number] for number in range(len(self))[place]]
        place = range(len(self))[place]
        if place in self.errors:
            return Prediction(self.sources[place], error=self.errors[place].reason)
        each = softmax(self.logits[:, place])
        best = np.argsort(-each[-1], kind="stable")[: self.top_k]
        first = np.argmax(each, axis=-1)
        names = self._names
        return Prediction(
            self.sources[place],
            tuple(names[label] for label in best),
            tuple(each[-1, best].tolist()),
            tuple(
                (names[label], float(row[label])) for label, row in zip(first, each, strict=True)
            ),
            labels=tuple(best.tolist()),
            similarity=self._similarity(place),
        )

    def _similarity(self, place: int) -> float | None:
        cosine = math.nan if self.similarities is None else float(self.similarities[place])
        return None if math.isnan(cosine) else cosine

    @functools.cached_property
    def _names(self) -> list[str]:
        return distinct(self.class_names)

    def __iter__(self) -> Iterator[Prediction]:
        """Of each image in turn."""
        return (self[place] for place in range(len(self)))

    def __str__(self) -> str:
        """A line an image, of the first twenty."""
        lines = [str(one) for one in self[:SHOWN_ROWS]]
        if len(self) > SHOWN_ROWS:
            lines.append(f"… and {len(self) - SHOWN_ROWS:,} more")
        return "\n".join(lines)

    __repr__ = __str__

    def as_rows(self) -> list[dict[str, Any]]:
        """A dict an image, for JSON lines or a data frame."""
        return [dataclasses.asdict(one) for one in self]


def only_one(name: str) -> str:
    """Says what the answers are worth where one class alone is asked for."""
    return (
        f"{escape(shorten(name))} is the only class, so that its probability is 100 % whatever a "
        "image shows; the cosine of image and text is given as the similarity: compare it "
        "between images, or name other classes"
    )


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities along the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def refuse_no_numbers(logits: np.ndarray, errors: Container[int]) -> None:
    """Checks that each image has an answer.

    Args:
        logits: float32[iterations, P, K].
        errors: the places of images that could not be read, whose logits are NaN.

    Raises:
        PromptError: names the first that has none.
    """
    for place in np.flatnonzero(~np.isfinite(logits).all(axis=(0, 2))).tolist():
        if place not in errors:
            raise PromptError(
                f"the logits of #{place} are infinite or no numbers: the prompts or the backbone "
                "hold numbers that are far too large, or no numbers"
            )

"""Predictions of a model for images or videos, and their printed form."""

import dataclasses
import functools
import math
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np

from prompt_jax.errors import BadImage, PromptError, escape, shorten
from prompt_jax.evaluation.confidence import (
    NONE_OF_THESE,
    SCORES,
    check_threshold,
    score,
    softmax,
)
from prompt_jax.text.class_names import distinct

SHOWN_ROWS = 20


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The prediction for one image or video.

    Attributes:
        source: its path; of an array or an image in memory its number, as "#0".
        classes: the most probable classes, best first; repeated names, as "missile" in ImageNet,
            have their label after them: "missile (label 657)".
        labels: indices of `classes` among the given classes.
        probabilities: of `classes`, 0 to 1; () if only one class was given.
        similarity: if only one class was given, the cosine of the image and its text, -1 to 1; else
            None. See `Predictions.similarities`.
        iterations: the most probable class and its probability after each iteration; most methods
            have one iteration.
        error: why the image could not be read, then there are no classes; else "".
        none_of_these: whether the score of the image is below the threshold of the call.
        max_logit, energy: see `Predictions.scores`; None for unreadable images.
    """

    source: str
    classes: tuple[str, ...] = ()
    probabilities: tuple[float, ...] = ()
    iterations: tuple[tuple[str, float], ...] = ()
    error: str = ""
    labels: tuple[int, ...] = ()
    similarity: float | None = None
    none_of_these: bool = False
    max_logit: float | None = None
    energy: float | None = None

    def __str__(self) -> str:
        """Returns one escaped line: the source, and classes in percent, or the similarity."""
        if self.error:
            return f"{escape(self.source)}: {escape(self.error)}"
        if not self.probabilities:  # there was a single class
            value = f"logit {self.max_logit:.3f}"
            if self.similarity is not None:
                value = f"{self.similarity:.3f}"
            ranking = f"{escape(self.classes[0])} {value}"
        else:
            pairs = zip(self.classes, self.probabilities, strict=True)
            ranking = ", ".join(f"{escape(name)} {probability:.1%}" for name, probability in pairs)
        if self.none_of_these:
            ranking = f"{NONE_OF_THESE} ({ranking})"
        return f"{escape(self.source)}: {ranking}"


@dataclasses.dataclass(frozen=True)
class Predictions(Sequence[Prediction]):
    """The predictions for P images or videos and K classes; a sequence of `Prediction`.

    Attributes:
        sources: of each image, see `Prediction`.
        class_names: K names.
        logits: float32[iterations, P, K]; the last iteration is the prediction, the first of ProMPT
            is zero-shot CLIP. NaN for unreadable images.
        top_k: number of classes in a `Prediction`.
        errors: of unreadable images, by index.
        similarities: for a single class, whose probability is always 1: float32[P], cosines of the
            images and its text under the method; of frozen CLIP if the method adds to the cosine
            (tip_adapter, gda). NaN for unreadable images and methods from outside. None for several
            classes.
        temperature: number that logits are divided by before the softmax, see `Model.temperature`.
        threshold, score: images whose `score` is below it are none of these classes; None: no
            image is.
    """

    sources: tuple[str, ...]
    class_names: tuple[str, ...]
    logits: np.ndarray
    top_k: int
    errors: Mapping[int, BadImage]
    similarities: np.ndarray | None = None
    temperature: float = 1.0
    threshold: float | None = None
    score: str = SCORES[0]

    @property
    def probabilities(self) -> np.ndarray:
        """Probabilities float32[P, K] of the last iteration; rows sum to 1."""
        return softmax(self.logits[-1] / self.temperature)

    @property
    def labels(self) -> np.ndarray:
        """The most probable class of each image, int[P].

        It is -1 for unreadable images, and for those that are none of these classes.
        """
        labels = np.argmax(self.logits[-1], axis=-1)
        labels[list(self.errors)] = -1
        labels[self.none_of_these] = -1
        return labels

    def scores(self, kind: str = SCORES[0]) -> np.ndarray:
        """Returns how well each image fits the classes, float32[P]; see `confidence.score`.

        Args:
            kind: "probability" of the predicted class, "max_logit", the largest logit, or
                "energy", the logarithm of the summed exponentials of the logits. The last two tell
                images of other classes apart. Higher: more like the classes. NaN for unreadable
                images.

        Raises:
            PromptError: there is no such kind.
        """
        check_threshold(None, kind, len(self.class_names))
        return score(self.logits[-1], self.temperature, kind)

    @property
    def none_of_these(self) -> np.ndarray:
        """Whether the score of each image is below the threshold, bool[P]."""
        if self.threshold is None:
            return np.zeros(len(self), bool)
        return self.scores(self.score) < self.threshold

    def __len__(self) -> int:
        """Returns P."""
        return len(self.sources)

    @overload
    def __getitem__(self, place: int) -> Prediction: ...

    @overload
    def __getitem__(self, place: slice) -> list[Prediction]: ...

    def __getitem__(self, place):
        """Returns the prediction for one image, or a list of several."""
        if isinstance(place, slice):
            return [self[number] for number in range(len(self))[place]]
        place = range(len(self))[place]
        if place in self.errors:
            return Prediction(self.sources[place], error=self.errors[place].reason)
        each = softmax(self.logits[:, place] / self.temperature)
        several = len(self.class_names) > 1  # the probability of a single class is always 1
        best = np.argsort(-each[-1], kind="stable")[: self.top_k]
        first = np.argmax(each, axis=-1)
        names = self._names
        return Prediction(
            self.sources[place],
            tuple(names[label] for label in best),
            tuple(each[-1, best].tolist()) if several else (),
            tuple((names[label], float(row[label])) for label, row in zip(first, each, strict=True))
            if several
            else (),
            labels=tuple(best.tolist()),
            similarity=self._similarity(place),
            none_of_these=bool(self._rejected[place]),
            max_logit=float(score(self.logits[-1, place], 1.0, "max_logit")),
            energy=float(score(self.logits[-1, place], 1.0, "energy")),
        )

    @functools.cached_property
    def _rejected(self) -> np.ndarray:
        return self.none_of_these

    def _similarity(self, place: int) -> float | None:
        cosine = math.nan if self.similarities is None else float(self.similarities[place])
        return None if math.isnan(cosine) else cosine

    @functools.cached_property
    def _names(self) -> list[str]:
        return distinct(self.class_names)

    def __iter__(self) -> Iterator[Prediction]:
        """Yields the prediction for each image."""
        return (self[place] for place in range(len(self)))

    def __str__(self) -> str:
        """Returns a line per image, for the first `SHOWN_ROWS`."""
        lines = [str(one) for one in self[:SHOWN_ROWS]]
        if len(self) > SHOWN_ROWS:
            lines.append(f"… and {len(self) - SHOWN_ROWS:,} more")
        return "\n".join(lines)

    __repr__ = __str__

    def as_rows(self) -> list[dict[str, Any]]:
        """Returns a dict per image, for JSON lines or a data frame."""
        return [dataclasses.asdict(one) for one in self]


def describe_single_class(name: str) -> str:
    """Returns a note on predictions for a single class."""
    return (
        f"{escape(shorten(name))} is the only class, so that its probability is 100 % for every "
        "image; similarity is the cosine of image and text: compare it between images, or name "
        "other classes"
    )


def check_finite(logits: np.ndarray, errors: Container[int]) -> None:
    """Checks that the logits of all readable images are finite.

    Args:
        logits: float32[iterations, P, K].
        errors: indices of unreadable images, whose logits are NaN.

    Raises:
        PromptError: they are not; names the first image.
    """
    for place in np.flatnonzero(~np.isfinite(logits).all(axis=(0, 2))).tolist():
        if place not in errors:
            raise PromptError(
                f"the logits of #{place} are NaN or infinite: the prompts or the backbone contain "
                "values that are NaN, infinite or far too large"
            )

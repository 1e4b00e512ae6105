"""Confusion matrices: a CSV file per test set beside results.json."""

import csv
import os
import pathlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from experiments.record.files import csv_files
from prompt_jax.errors import shorten

COLUMNS = ["class", "predicted", "count"]
_DIGITS = 12  # of a count


class Confusion(NamedTuple):
    """A sparse confusion matrix.

    Attributes:
        counts: (label, predicted class) to the number of examples, above 0.
    """

    counts: Mapping[tuple[str, str], int]

    @property
    def examples(self) -> Counter[str]:
        """Counts the examples of each class, in the order of labels."""
        found: Counter[str] = Counter()
        for (name, _), count in self.counts.items():
            found[name] += count
        return found

    def accuracy(self, same: Mapping[str, str] | None = None) -> float:
        """Returns the accuracy over all examples, in percent.

        Args:
            same: class to another prediction that counts as right too.
        """
        allowed = same or {}
        right = sum(
            count
            for (name, predicted), count in self.counts.items()
            if predicted in (name, allowed.get(name))
        )
        return 100 * right / sum(self.counts.values())

    def of_class(self, name: str) -> float:
        """Returns the accuracy of one class, in percent."""
        return 100 * self.counts.get((name, name), 0) / self.examples[name]


def confusion_file(key: str) -> str:
    """Returns the file name of a test set's confusion matrix, by its key in results.json."""
    return f"confusion-{key.replace(':', '-')}.csv"


def write(path: pathlib.Path, names: Sequence[str], confusion: np.ndarray) -> None:
    """Writes the nonzero entries of a confusion matrix, a line each.

    Args:
        path: see `confusion_file`.
        names: of the K classes, unique, see `class_names.distinct`.
        confusion: int[K, K], labels (rows) by predicted classes (columns).
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for label, predicted in np.argwhere(confusion).tolist():
            writer.writerow([names[label], names[predicted], confusion[label, predicted]])


def read(path: pathlib.Path) -> Confusion:
    """Reads a confusion matrix.

    Raises:
        OSError: it cannot be read.
        ValueError: a line is invalid; names it.
    """
    counts: dict[tuple[str, str], int] = {}
    for place, (name, predicted, number) in csv_files.read(path, COLUMNS):
        if not (number.isascii() and number.isdigit() and len(number) <= _DIGITS):
            raise ValueError(f"line {place} is not two classes and a count: {shorten(number)}")
        pair, count = (name, predicted), int(number)
        if pair in counts or not count:
            raise ValueError(f"line {place} repeats an entry or has the count 0")
        counts[pair] = count
    if not counts:
        raise ValueError("it has no counts")
    return Confusion(counts)


def of_run(
    folder: pathlib.Path,
    accuracy: Mapping[str, float],
    images: Mapping[str, int] | None = None,
) -> tuple[dict[str, Confusion], list[str]]:
    """Reads the confusion matrices of a run.

    Args:
        folder: the run directory.
        accuracy: from results.json, by test set.
        images: "test_" and key to the number of tested images; None if not recorded.

    Returns:
        the matrices by test set, where there is a file; and a line for each file that is damaged or
        does not belong to the run.
    """
    found, problems = {}, []
    for key, percent in accuracy.items():
        path = folder / confusion_file(key)
        if not os.path.lexists(path):
            continue
        try:
            one = read(path)
            counted = sum(one.counts.values())
            tested = (images or {}).get(f"test_{key}", counted)
            if counted != tested:
                raise ValueError(f"{counted:,} examples, {tested:,} in results.json")
            if abs(one.accuracy() - percent) > 0.01:
                raise ValueError(
                    f"accuracy {one.accuracy():.2f} %, but {percent:.2f} % in results.json"
                )
        except (OSError, ValueError) as error:
            problems.append(f"{path} is left out, because it is damaged or of another run: {error}")
        else:
            found[key] = one
    return found, problems


def add(parts: Iterable[Confusion]) -> Confusion:
    """Adds the counts of several runs on the same examples."""
    total: Counter[tuple[str, str]] = Counter()
    for part in parts:
        total.update(part.counts)
    return Confusion(total)

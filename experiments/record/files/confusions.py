"""Which classes a run took for which: the counts that stand beside its results.json."""

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
    """How often examples of a class were taken for each class.

    Attributes:
        counts: (class, what it was taken for) to how often, above 0.
    """

    counts: Mapping[tuple[str, str], int]

    @property
    def examples(self) -> Counter[str]:
        """How many examples each class has, in the order of the file, which is that of labels."""
        found: Counter[str] = Counter()
        for (name, _), count in self.counts.items():
            found[name] += count
        return found

    def accuracy(self, same: Mapping[str, str] | None = None) -> float:
        """Percent right, over all examples.

        Args:
            same: class to another one that counts as right, too.
        """
        allowed = same or {}
        right = sum(
            count
            for (name, predicted), count in self.counts.items()
            if predicted in (name, allowed.get(name))
        )
        return 100 * right / sum(self.counts.values())

    def of_class(self, name: str) -> float:
        """Percent right of one class's examples."""
        return 100 * self.counts.get((name, name), 0) / self.examples[name]


def confusion_file(key: str) -> str:
    """The file of a run that holds the counts of a test set, by the key that results use."""
    return f"confusion-{key.replace(':', '-')}.csv"


def write(path: pathlib.Path, names: Sequence[str], confusion: np.ndarray) -> None:
    """A line for each class and what some of its examples were taken for: how many.

    Args:
        path: see `confusion_file`.
        names: of the K classes, each once, as of `class_names.distinct`.
        confusion: int[K, K], how many of each class (rows) were taken for which (columns).
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for label, predicted in np.argwhere(confusion).tolist():
            writer.writerow([names[label], names[predicted], confusion[label, predicted]])


def read(path: pathlib.Path) -> Confusion:
    """The counts in a file.

    Raises:
        OSError: it cannot be read.
        ValueError: it does not hold what a run writes; says which line.
    """
    counts: dict[tuple[str, str], int] = {}
    for place, (name, predicted, number) in csv_files.read(path, COLUMNS):
        if not (number.isascii() and number.isdigit() and len(number) <= _DIGITS):
            raise ValueError(f"line {place} is not two classes and a count: {shorten(number)}")
        pair, count = (name, predicted), int(number)
        if pair in counts or not count:
            raise ValueError(f"line {place} stands twice, or counts none")
        counts[pair] = count
    if not counts:
        raise ValueError("it counts nothing")
    return Confusion(counts)


def of_run(
    folder: pathlib.Path,
    accuracy: Mapping[str, float],
    images: Mapping[str, int] | None = None,
) -> tuple[dict[str, Confusion], list[str]]:
    """What a run took for what, and a line for each file that is damaged or another run's.

    Args:
        folder: of the run.
        accuracy: what results.json says, by the key of a test set.
        images: "test_" and key to how many were tested; None where not recorded.

    Returns:
        counts by key, of those keys that have a file; and the lines.
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
                raise ValueError(f"{one.accuracy():.2f} % right, {percent:.2f} % in results.json")
        except (OSError, ValueError) as error:
            problems.append(f"{path} is left out, it holds no counts of its run: {error}")
        else:
            found[key] = one
    return found, problems


def add(parts: Iterable[Confusion]) -> Confusion:
    """The counts of several runs on the same examples."""
    total: Counter[tuple[str, str]] = Counter()
    for part in parts:
        total.update(part.counts)
    return Confusion(total)

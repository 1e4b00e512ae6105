"""Accuracy per class and the most frequent confusions, over seeds."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from experiments.figures.long import deviation
from experiments.figures.result_table import ResultTable, Row
from experiments.record.files import confusions
from experiments.record.files.confusions import Confusion

FIELDS = (
    "protocol", "ablation", "backbone", "backbone_hash", "dataset", "part", "shots", "method",
    "variant", "settings", "class", "examples", "accuracy", "std", "n_seeds", "taken_for",
    "taken_for_share",
)  # fmt: skip
OTHERS = "any other"


class Counted(NamedTuple):
    """The confusions of a row's runs on one test set.

    Attributes:
        row: of the table.
        dataset: the training data set.
        part: its part as in results.json: "test", "base", …; or another data set.
        shots: training examples per class.
        seeds: the counts of each seed.
    """

    row: Row
    dataset: str
    part: str
    shots: int
    seeds: Sequence[Confusion]

    @property
    def total(self) -> Confusion:
        """The counts of all seeds."""
        return confusions.add(self.seeds)


def counted(table: ResultTable) -> list[Counted]:
    """Returns the confusions of a table's runs, of those that recorded them."""
    found = []
    for row in table.rows:
        groups: dict[tuple[str, str, int], list[Confusion]] = defaultdict(list)
        for run in sorted(row.runs, key=lambda run: run.seed):
            for part, confusion in run.confusions.items():
                groups[run.dataset, part, run.shots].append(confusion)
        found += [Counted(row, *key, seeds) for key, seeds in sorted(groups.items())]
    return found


def records(table: ResultTable) -> Iterator[dict[str, object]]:
    """Yields a record per class, with the class that it is most often confused with, if any."""
    for row, dataset, part, shots, seeds in counted(table):
        total = confusions.add(seeds)
        for name, examples in total.examples.items():
            values = [seed.of_class(name) for seed in seeds if name in seed.examples]
            wrong = taken_for(total, name).most_common(1)
            yield {
                **row.head(table),
                "dataset": dataset,
                "part": part,
                "shots": shots if table.shots or table.protocol == "few_shot" else "",
                "class": name,
                "examples": examples // len(values),
                "accuracy": statistics.fmean(values),
                "std": deviation(values),
                "n_seeds": len(values),
                "taken_for": wrong[0][0] if wrong else "",
                "taken_for_share": 100 * wrong[0][1] / examples if wrong else "",
            }


def taken_for(confusion: Confusion, name: str) -> Counter[str]:
    """Counts how often a class was predicted as each other class, in the order of the file."""
    return Counter(
        {other: n for (own, other), n in confusion.counts.items() if own == name != other}
    )


class Worst(NamedTuple):
    """The classes with the lowest accuracy, as a part of the confusion matrix.

    Attributes:
        rows: their names, lowest accuracy first.
        columns: predicted classes: `rows` in the same order, then the others, those most often
            predicted first, then `OTHERS` if some are left.
        shares: float[rows, columns], percent of a row's examples.
        classes: number of all classes.
    """

    rows: list[str]
    columns: list[str]
    shares: np.ndarray
    classes: int


def worst(confusion: Confusion, rows: int = 12, columns: int = 20) -> Worst:
    """Returns the classes with the lowest accuracy and what they are predicted as.

    Args:
        confusion: the counts.
        rows: number of classes at most.
        columns: number of predicted classes at most, `rows` or more.
    """
    examples = confusion.examples
    own = sorted(examples, key=lambda name: (confusion.of_class(name), name))[:rows]
    taken: dict[str, float] = {}
    for (name, predicted), count in confusion.counts.items():
        if name in own and predicted not in own:
            taken[predicted] = max(taken.get(predicted, 0), count / examples[name])
    ordered = sorted(taken, key=lambda name: (-taken[name], name))
    shown = [*own, *ordered[: columns - len(own)]]
    shares = np.array(
        [
            [100 * confusion.counts.get((name, other), 0) / examples[name] for other in shown]
            for name in own
        ]
    )
    if len(ordered) > columns - len(own):
        shown.append(OTHERS)
        shares = np.hstack([shares, 100 - shares.sum(axis=1, keepdims=True)])
    return Worst(own, shown, shares, len(examples))

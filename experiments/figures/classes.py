"""How often each class is right and what it is taken for: sums and means over seeds."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from experiments.figures import tables
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
    """What a row's runs took for what on one test set.

    Attributes:
        row: whose.
        dataset: that was trained on.
        part: of it, as results call it: "test", "base", …; or another data set.
        shots: training examples a class.
        seeds: each seed's counts.
    """

    row: Row
    dataset: str
    part: str
    shots: int
    seeds: Sequence[Confusion]

    @property
    def total(self) -> Confusion:
        """All seeds' counts."""
        return confusions.add(self.seeds)


def counted(table: ResultTable) -> list[Counted]:
    """What a table's runs counted; nothing of runs that left no counts."""
    found = []
    for row in table.rows:
        groups: dict[tuple[str, str, int], list[Confusion]] = defaultdict(list)
        for run in sorted(row.runs, key=lambda run: run.seed):
            for part, confusion in run.confusions.items():
                groups[run.dataset, part, run.shots].append(confusion)
        found += [Counted(row, *key, seeds) for key, seeds in sorted(groups.items())]
    return found


def records(table: ResultTable) -> Iterator[dict[str, object]]:
    """A record per class, with the class that it is taken for most often, if ever."""
    for one in counted(table):
        total = one.total
        for name, examples in total.examples.items():
            values = [seed.of_class(name) for seed in one.seeds if name in seed.examples]
            deviation = tables.deviation(values)
            wrong, share = _most_wrong(total, name)
            yield {
                "protocol": table.protocol,
                "ablation": table.ablation,
                "backbone": table.backbone,
                "backbone_hash": table.backbone_hash,
                "dataset": one.dataset,
                "part": one.part,
                "shots": one.shots if table.shots or table.protocol == "few_shot" else "",
                "method": one.row.method,
                "variant": one.row.variant,
                "settings": one.row.settings,
                "class": name,
                "examples": examples // len(values),
                "accuracy": f"{statistics.fmean(values):.4f}",
                "std": "" if deviation is None else f"{deviation:.4f}",
                "n_seeds": len(values),
                "taken_for": wrong,
                "taken_for_share": f"{share:.4f}" if wrong else "",
            }


def taken_for(confusion: Confusion, name: str) -> Counter[str]:
    """How often a class was taken for which others, in the order of the counts."""
    return Counter(
        {other: n for (own, other), n in confusion.counts.items() if own == name != other}
    )


def _most_wrong(confusion: Confusion, name: str) -> tuple[str, float]:
    wrong = taken_for(confusion, name)
    if not wrong:
        return "", 0.0
    [(other, count)] = wrong.most_common(1)
    return other, 100 * count / confusion.examples[name]


class Worst(NamedTuple):
    """The classes that are right least often, as a grid.

    Attributes:
        rows: their names, the worst first.
        columns: what they are taken for: themselves in the same order, then other classes, those
            first that one of them is taken for the most often, then `OTHERS` where some are left.
        shares: float[rows, columns], percent of a row's examples.
        classes: how many there are in all.
    """

    rows: list[str]
    columns: list[str]
    shares: np.ndarray
    classes: int


def worst(confusion: Confusion, rows: int = 12, columns: int = 20) -> Worst:
    """The worst classes and what they are taken for.

    Args:
        confusion: the counts.
        rows: how many classes at most.
        columns: how many names of classes at most, `rows` or more.
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

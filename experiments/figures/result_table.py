"""Tables of accuracy: rows of methods, columns of data sets and metrics."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan
from typing import Any, NamedTuple

import pandas as pd

from experiments.figures import tables
from experiments.figures.long import ROW, RowKey
from experiments.figures.papers.published import Published
from experiments.record.runs import SOURCE_PROTOCOLS, Run
from prompt_jax.evaluation.reliability import Interval

AVERAGE = "average"
Key = tuple[str, str]  # data set; "base", "new", "h", "accuracy" or a number of shots
TOP5 = "top-5"  # the label is among the five most probable classes
MERGED = "reversals merged"  # the reversal of an action counts as the action
ECE = "ECE"  # expected calibration error
MACRO = "mean over classes"  # every class counts equally, however many test images it has
FURTHER = (TOP5, MACRO, MERGED, ECE)  # stand after a comma: "16, top-5"


class Cell(NamedTuple):
    """A figure of a table.

    Attributes:
        mean: percent or rank, over seeds; of an average, over data sets.
        deviation: sample standard deviation over seeds, or over splits where the mean is over
            them; None for one seed, and of an average over data sets with different seeds.
        seeds: how many; of an average, the fewest of any data set.
        most_seeds: of an average, the most of any data set.
        interval: 95 % over the test images; None of averages, and of what is not an accuracy.
        published: the figure of a paper, if it is comparable.
    """

    mean: float
    deviation: float | None
    seeds: int
    most_seeds: int
    interval: Interval | None = None
    published: Published | None = None

    @property
    def difference(self) -> float | None:
        """Measured minus published, percentage points."""
        return None if self.published is None else self.mean - self.published.value

    def text(self, intervals: bool = False) -> str:
        """Returns the mean, its deviation, and the interval if asked for."""
        text = f"{self.mean:.2f}"
        text += "" if self.deviation is None else f" ± {self.deviation:.2f}"
        return text + tables.in_brackets(self.interval if intervals else None)


@dataclass
class Row:
    """A method, its variant and, if there are several configs, what distinguishes this one.

    Attributes:
        runs: the runs that count, in no order.
        lines: their figures, see `long.table`.
        cells: the figures of the table, by data set and metric.
    """

    method: str
    variant: str
    settings: str
    runs: list[Run]
    lines: pd.DataFrame
    cells: dict[Key, Cell] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The name of the row in tables and plots."""
        return tables.row_label(self.method, self.variant, self.settings)

    @property
    def sees_at_test(self) -> str:
        """Returns what a prediction depends on; "" for a method from outside."""
        return tables.sees_at_test(self.method, self.runs[0].kind)

    def iterations(self, key: Key, averaged: Sequence[str]) -> list[list[float]]:
        """Returns the accuracy after each iteration, a list per seed; averaged over data sets.

        Empty where it was not measured, or not with the same seeds everywhere.
        """
        names = averaged if key[0] == AVERAGE else [key[0]]
        own = self.lines[(self.lines.metric == key[1]) & self.lines.dataset.isin(names)]
        steps = own.pivot(index="seed", columns="dataset", values="steps")
        if steps.isna().any(axis=None) or len(steps.columns) < len(names):
            return []
        seeds = steps.to_numpy().tolist()
        if len({len(each) for seed in seeds for each in seed}) > 1:
            return []
        return [[statistics.fmean(step) for step in zip(*seed, strict=True)] for seed in seeds]

    def record(self, table: Any, key: Key) -> dict[str, object]:
        """Returns a cell as a record of a CSV file, see `long.FIELDS`; shots are missing."""
        cell = self.cells[key]
        low, high = cell.interval or (None, None)
        published, source = cell.published or (None, "")
        return self.head(table) | {
            "dataset": key[0],
            "metric": key[1],
            "mean": cell.mean,
            "std": cell.deviation,
            "n_seeds": cell.seeds,
            "n_seeds_most": cell.most_seeds,
            "low": low,
            "high": high,
            "published": published,
            "difference": cell.difference,
            "published_source": source,
        }

    def head(self, table: Any) -> dict[str, object]:
        """Returns what all records of this row in a table have in common."""
        common = ("protocol", "ablation", "backbone", "backbone_hash")
        found = {name: getattr(table, name) for name in common}
        return found | {name: getattr(self, name) for name in (*ROW, "sees_at_test")}


def make_rows(
    counted: Sequence[tuple[RowKey, Run]], lines: pd.DataFrame, cells: pd.DataFrame
) -> list[Row]:
    """Returns the rows of a table, in the order of their first runs.

    Args:
        counted: see `long.newest`.
        lines: figures of the runs, see `long.table`.
        cells: their means, see `long.means`.
    """
    runs: dict[RowKey, list[Run]] = {}
    for key, run in counted:
        runs.setdefault(key, []).append(run)
    parts = dict(iter(lines.groupby(ROW, sort=False)))
    rows = {key: Row(*key, those, parts.get(key, lines[:0])) for key, those in runs.items()}
    for one in cells.itertuples(index=False):
        interval = None if isnan(one.low) else (one.low, one.high)
        std = None if isnan(one.std) else one.std
        cell = Cell(one.mean, std, one.seeds, one.most_seeds, interval)
        rows[one.method, one.variant, one.settings].cells[one.dataset, one.metric] = cell
    return [*rows.values()]


@dataclass
class ResultTable:
    """Runs that may be compared: same protocol, ablation, backbone, kind of data, shots.

    Attributes:
        data: the source data set where there is one; the scenes and their domain; else "".
        trained_by: of evaluations, the protocol that trained the model; else "".
        shots: training images per class; None in few-shot learning, where they are the columns, and
            where all of a data set is trained on.
        columns: metrics, or numbers of shots, in order.
        further: those of `FURTHER` that some cell has and that are shown.
        intervals: whether intervals are shown.
        splits: data set to its splits, "name:val1", …, where the mean over them is a figure.
        datasets: in order, without AVERAGE.
        shots_there: by training data set and the shots asked for, the fewest and most of a class.
        features: how training images became features, where not as published, to methods.
        chosen: (method, setting) to the values that runs chose for themselves.
        data_differences: how test data differ from those of published figures.
        settings_differences: why some row has no published figures beside it.
    """

    protocol: str
    ablation: str
    backbone: str
    backbone_hash: str
    data: str
    trained_by: str
    shots: int | None
    columns: list[str] = field(default_factory=list)
    datasets: list[str] = field(default_factory=list)
    shots_there: dict[tuple[str, int], tuple[int, int]] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    features: dict[str, list[str]] = field(default_factory=dict)
    chosen: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    data_differences: list[str] = field(default_factory=list)
    settings_differences: list[str] = field(default_factory=list)
    further: list[str] = field(default_factory=list)
    intervals: bool = False
    splits: dict[str, list[str]] = field(default_factory=dict)

    @property
    def averaged(self) -> list[str]:
        """The data sets that the average is over: all but the source."""
        source = self.data if self.protocol in SOURCE_PROTOCOLS else ""
        parts = {part for parts in self.splits.values() for part in parts}
        return [name for name in self.datasets if name != source and name not in parts]

    def shots_of(self, asked: int, dataset: str = AVERAGE) -> tuple[int, int]:
        """Returns the fewest and the most training images of a class where `asked` were wanted.

        Args:
            asked: how many.
            dataset: the training data set; AVERAGE: all of the table.
        """
        found = [
            there
            for (name, shots), there in self.shots_there.items()
            if shots == asked and dataset in (name, AVERAGE)
        ] or [(asked, asked)]
        return min(least for least, _ in found), max(most for _, most in found)

    def sections(self) -> list[tuple[str, dict[str, Key]]]:
        """Returns parts that fit a page, the average first: title, and header to key."""
        averages = [AVERAGE] if len(self.averaged) > 1 else []
        if self.protocol in SOURCE_PROTOCOLS:
            names = {name: name for name in [*self.datasets, *averages]}
            for name, parts in self.splits.items():
                names[name] = f"{name}, mean of {len(parts)} splits"
            return [("", {header: (name, "accuracy") for name, header in names.items()})]
        # Zero-shot CLIP, which every run measures, may have an average where no method has one.
        rows = [row for row in self.rows if row.method != "zero_shot"] or self.rows
        if not any((AVERAGE, column) in row.cells for row in rows for column in self.columns):
            averages = []

        def header(name: str, column: str) -> str:
            if self.protocol != "few_shot":
                return "H" if column == "h" else column
            _, most = self.shots_of(int(column), name)
            return tables.count_shots(int(column), most, most)

        return [
            (name, {header(name, c): (name, c) for c in self.columns})
            for name in [*averages, *self.datasets]
        ]

    def filled(self, columns: Mapping[str, Key]) -> dict[str, Key]:
        """Returns those columns of `sections` that some row has a figure in."""
        measured = {key for row in self.rows for key in row.cells}
        return {header: key for header, key in columns.items() if key in measured}

    def with_further(self, columns: Mapping[str, Key]) -> dict[str, Key]:
        """Returns columns of `sections` and, after them, their further metrics."""
        further = {
            f"{header}, {measure}": (name, f"{column}, {measure}")
            for measure in self.further
            for header, (name, column) in columns.items()
        }
        return {**columns, **self.filled(further)}


def headers(columns: dict[str, Key]) -> list[str]:
    """Returns the headers of `lines`."""
    return ["method", "seeds", *columns, tables.SEES]


def lines(table: ResultTable, columns: dict[str, Key]) -> list[list[str]]:
    """Returns each row's figures, and below them the published ones and the differences."""
    found: list[list[str]] = []
    for row in table.rows:
        cells = [row.cells.get(key) for key in columns.values()]
        if any(cells):
            texts = [cell.text(table.intervals) if cell else "" for cell in cells]
            found.append([row.label, _seeds(cells), *texts, row.sees_at_test])
            found += ([name, "", *texts, ""] for name, *texts in published_lines(cells, ".2f"))
    return found


def published_lines(cells: Sequence[Cell | None], form: str) -> list[list[str]]:
    """Returns published figures in the format `form`, and differences; none where none are known.

    Each line begins with its name.
    """
    known = [(cell.mean, cell.published) if cell else (0.0, None) for cell in cells]
    if not any(published for _, published in known):
        return []
    printed = [f"{published.value:{form}}" if published else "" for _, published in known]
    differences = [
        f"{mean - published.value:+.2f}" if published else "" for mean, published in known
    ]
    return [["– published", *printed], ["– difference", *differences]]


def _seeds(cells: Sequence[Cell | None]) -> str:
    numbers = [number for cell in cells if cell for number in (cell.seeds, cell.most_seeds)]
    return " to ".join(map(str, dict.fromkeys((min(numbers), max(numbers)))))


def records(table: ResultTable) -> Iterator[dict[str, object]]:
    """Yields a record per cell, see `long.FIELDS`."""
    from_source = table.protocol in SOURCE_PROTOCOLS
    for row in table.rows:
        for dataset, column in row.cells:
            asked, metric = table.shots, column
            if table.protocol == "few_shot":
                shots, _, measure = column.partition(", ")
                asked, metric = int(shots), measure or "accuracy"
            trained = table.data if from_source else dataset
            least, most = ("", "") if asked is None else table.shots_of(asked, trained)
            yield {
                **row.record(table, (dataset, column)),
                "metric": metric,
                "source": table.data if from_source else "",
                "shots": "" if asked is None else asked,
                "shots_least": least,
                "shots_most": most,
            }

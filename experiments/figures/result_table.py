"""Tables of accuracies: rows of methods, columns of data sets and metrics."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from experiments.figures import tables
from experiments.figures.papers.published import Published
from experiments.record.runs import SOURCE_PROTOCOLS, Run
from prompt_jax.evaluation.reliability import Interval

AVERAGE = "average"
Key = tuple[str, str]  # data set, and "base", "new", "h", "accuracy" or a number of shots …
TOP5 = "top-5"  # the right class is among the five likeliest
MERGED = "reversals merged"  # an action's reversal counts as the action
ECE = "ECE"  # expected calibration error: how far confidence and accuracy lie apart
FURTHER = (TOP5, MERGED, ECE)  # … of which these are said behind a comma: "16, top-5"
Seeds = dict[int, list[float]]  # seed to accuracy after each iteration; the last is the result


@dataclass(frozen=True)
class Cell:
    """A figure of a table.

    Attributes:
        mean: percent, over seeds; of an average, over data sets.
        by_seed: the figure of each seed, from which its deviation comes; empty for an average of
            data sets that were run with different seeds.
        seeds: how many; of an average, the fewest of any data set.
        most_seeds: of an average, the most of any data set; all of each count. 0: as `seeds`.
        published: the same figure in a paper, if it is comparable.
        spread: of a mean over a data set's splits, their sample standard deviation.
        interval: 95 % over the test images, of the mean over seeds; None of averages over data
            sets, and of what is no accuracy.
    """

    mean: float
    by_seed: Mapping[int, float]
    seeds: int
    published: Published | None = None
    spread: float | None = None
    interval: Interval | None = None
    most_seeds: int = 0

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation over seeds, from two seeds on; over splits where those are."""
        return tables.deviation(self.by_seed.values()) if self.spread is None else self.spread

    @property
    def difference(self) -> float | None:
        """Measured minus published, percentage points."""
        return None if self.published is None else self.mean - self.published.value


@dataclass
class Row:
    """A method, its variant, and, where several configs were run, what sets this one apart.

    Attributes:
        runs: that count, in no order.
    """

    method: str
    variant: str
    settings: str
    runs: list[Run] = field(default_factory=list)
    measured: dict[Key, Seeds] = field(default_factory=dict)
    cells: dict[Key, Cell] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """How the row is called in tables and plots."""
        return tables.row_label(self.method, self.variant, self.settings)

    def iterations(self, key: Key, averaged: Sequence[str]) -> list[list[float]]:
        """Accuracy after each iteration, a list per seed; of an average, over these data sets.

        Empty where it was not measured, or not with the same seeds everywhere.
        """
        names = averaged if key[0] == AVERAGE else [key[0]]
        parts = [self.measured.get((name, key[1]), {}) for name in names]
        if any(part.keys() != parts[0].keys() for part in parts):
            return []
        found = [[part[seed] for part in parts] for seed in parts[0]]
        if len({len(steps) for seed in found for steps in seed}) > 1:
            return []
        return [[statistics.fmean(step) for step in zip(*seed, strict=True)] for seed in found]


@dataclass
class ResultTable:
    """Runs that may be compared: one protocol, ablation, backbone, kind of data, number of shots.

    Attributes:
        data: the source data set where there is one; the scenes and their domain; else "".
        trained_by: of evaluations, the protocol that trained what they test; else "".
        shots: training images per class; None in few-shot learning, where it is the column, and
            where all of a data set is trained on.
        columns: metrics, or numbers of shots, in order.
        further: those of `FURTHER` that some cell has, and are shown: `ECE` where asked.
        intervals: whether intervals are shown.
        splits: data set to its parts, "name:val1", …, where the mean over them is a figure.
        datasets: in order; AVERAGE is not among them.
        shots_there: by trained data set and the shots asked for, the fewest and most of a class.
        features: how training images became features, where not as published, to methods.
        chosen: what methods chose for themselves: (method, setting) to the runs' values.
        departures: how tested data differ from those of published figures; see `published`.
        unlike: why published figures are not beside some row, in words; see `comparable`.
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
    departures: list[str] = field(default_factory=list)
    unlike: list[str] = field(default_factory=list)
    further: list[str] = field(default_factory=list)
    intervals: bool = False
    splits: dict[str, list[str]] = field(default_factory=dict)

    @property
    def averaged(self) -> list[str]:
        """The data sets that the average is over: where there is a source, not the source."""
        source = self.data if self.protocol in SOURCE_PROTOCOLS else ""
        parts = {part for parts in self.splits.values() for part in parts}
        return [name for name in self.datasets if name != source and name not in parts]

    def shots_of(self, asked: int, dataset: str = AVERAGE) -> tuple[int, int]:
        """The fewest and the most training images of a class, where so many were asked for.

        Args:
            asked: how many.
            dataset: the data set trained on; AVERAGE: all of the table's.
        """
        found = [
            there
            for (name, shots), there in self.shots_there.items()
            if shots == asked and dataset in (name, AVERAGE)
        ] or [(asked, asked)]
        return min(least for least, _ in found), max(most for _, most in found)

    def sections(self) -> list[tuple[str, dict[str, Key]]]:
        """The table in parts that fit a page, the average first: title, and header to key."""
        averages = [AVERAGE] if len(self.averaged) > 1 else []
        if self.protocol in SOURCE_PROTOCOLS:
            names = [*self.datasets, *averages]
            return [("", {self._in_words(name): (name, "accuracy") for name in names})]
        # Zero-shot CLIP, which every run measures, may have an average where no method has one.
        rows = [row for row in self.rows if row.method != "zero_shot"] or self.rows
        if not any((AVERAGE, column) in row.cells for row in rows for column in self.columns):
            averages = []
        shots = self.protocol == "few_shot"

        def header(name: str, column: str) -> str:
            if not shots:
                return "H" if column == "h" else column
            _, most = self.shots_of(int(column), name)
            return tables.count_shots(int(column), most, most)

        return [
            (name, {header(name, c): (name, c) for c in self.columns})
            for name in [*averages, *self.datasets]
        ]

    def _in_words(self, name: str) -> str:
        parts = self.splits.get(name)
        return f"{name}, mean of {len(parts)} splits" if parts else name

    def filled(self, columns: Mapping[str, Key]) -> dict[str, Key]:
        """Those columns of `sections` that some row has a figure in."""
        measured = {key for row in self.rows for key in row.cells}
        return {header: key for header, key in columns.items() if key in measured}

    def with_further(self, columns: Mapping[str, Key]) -> dict[str, Key]:
        """Columns of `sections`, and behind them what further figures there are of them."""
        found = dict(columns)
        for measure in self.further:
            for header, (name, column) in columns.items():
                key = name, f"{column}, {measure}"
                if any(key in row.cells for row in self.rows):
                    found[f"{header}, {measure}"] = key
        return found

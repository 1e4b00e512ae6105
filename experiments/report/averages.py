"""Runs become rows of tables: means over seeds and data sets, published figures beside them."""

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from experiments.record import peers, runs
from experiments.record.runs import RETRIEVAL, SOURCE_PROTOCOLS, Run
from experiments.report import published, tables
from experiments.report.published import Published
from prompt_jax.metrics import harmonic_mean

AVERAGE = "average"
Key = tuple[str, str]  # data set, and "base", "new", "h", "accuracy" or a number of shots
Seeds = dict[int, list[float]]  # seed to accuracy after each iteration; the last is the result


@dataclass(frozen=True)
class Cell:
    """A figure of a table.

    Attributes:
        mean: percent, over seeds; of an average, over data sets.
        by_seed: the figure of each seed, from which its deviation comes; empty for an average of
            data sets that were run with different seeds.
        seeds: how many; the fewest of any data set.
        published: the same figure in a paper, if it is comparable.
    """

    mean: float
    by_seed: Mapping[int, float]
    seeds: int
    published: Published | None = None

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation over seeds, from two seeds on."""
        return tables.deviation(self.by_seed.values())

    @property
    def difference(self) -> float | None:
        """Measured minus published, percentage points."""
        return None if self.published is None else self.mean - self.published.value


@dataclass
class Row:
    """A method, its variant, and, where several configs were run, what sets this one apart."""

    method: str
    variant: str
    settings: str
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
        shots: training pictures per class; None in few-shot learning, where it is the column.
        columns: metrics, or numbers of shots, in order.
        datasets: in order; AVERAGE is not among them.
        shots_there: by trained data set and the shots asked for, the fewest and most of a class.
        features: how training pictures became features, where not as published, to methods.
        chosen: what methods chose for themselves: (method, setting) to the runs' values.
        departures: how tested data differ from those of published figures; see `published`.
    """

    protocol: str
    ablation: str
    backbone: str
    backbone_hash: str
    data: str
    shots: int | None
    columns: list[str] = field(default_factory=list)
    datasets: list[str] = field(default_factory=list)
    shots_there: dict[tuple[str, int], tuple[int, int]] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    features: dict[str, list[str]] = field(default_factory=dict)
    chosen: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    departures: list[str] = field(default_factory=list)

    @property
    def averaged(self) -> list[str]:
        """The data sets that the average is over: where there is a source, not the source."""
        source = self.data if self.protocol in SOURCE_PROTOCOLS else ""
        return [name for name in self.datasets if name != source]

    def shots_of(self, asked: int, dataset: str = AVERAGE) -> tuple[int, int]:
        """The fewest and the most training pictures of a class, where so many were asked for.

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
            return [("", {name: (name, "accuracy") for name in [*self.datasets, *averages]})]
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


def average(found: Sequence[Run]) -> tuple[list[ResultTable], list[str]]:
    """Averages over seeds and data sets.

    H of a data set is that of its seed-averaged base and new accuracies, H of an average that of
    the averaged base and new, as the CoOp family of papers does. An average is given to rows that
    have every data set of the table, and compared with the published one only if it is over the
    same data sets. Runs are never averaged with a second run of the same seed: the newer counts.

    Returns:
        tables, and a line for each run that did not count.
    """
    groups: dict[tuple, list[Run]] = defaultdict(list)
    for run in peers.with_zero_shot([run for run in found if run.protocol != RETRIEVAL]):
        scenes = run.dataset if run.dataset.startswith("emoji_scenes") else ""
        data = run.dataset if run.protocol in SOURCE_PROTOCOLS else scenes
        shots = None if run.protocol == "few_shot" else run.shots
        key = (run.protocol, run.ablation, run.backbone, run.backbone_hash, data, shots)
        groups[key].append(run)
    done, duplicates = [], []
    for key in sorted(groups, key=lambda key: (runs.PROTOCOLS.index(key[0]), *map(str, key[1:]))):
        table = ResultTable(*key)
        duplicates += _fill(table, groups[key])
        done.append(table)
    return done, duplicates


def _fill(table: ResultTable, found: Sequence[Run]) -> list[str]:
    """Gives a table its rows; returns a line for each run that an equal, newer one replaces."""
    counted: dict[tuple, Run] = {}
    duplicates = []
    labelled = zip(found, peers.label_differences(found), strict=True)
    for run, settings in sorted(labelled, key=lambda pair: (pair[0].changed, pair[0].path)):
        cell = (run.method, run.variant, settings, run.dataset, run.shots, run.seed)
        older = counted.get(cell)
        # Zero-shot figures come with every run, and are the same.
        if older and run.accuracy is not run.zero_shot:
            duplicates.append(
                f"{older.path} does not count: {run.path} is a newer run of the same "
                f"({run.method}{' ' * bool(run.variant)}{run.variant}, {run.dataset}, "
                f"{run.shots} shots, seed {run.seed})"
            )
        counted[cell] = run
    rows: dict[tuple, Row] = {}
    for (method, variant, settings, *_), run in counted.items():
        row = rows.setdefault((method, variant, settings), Row(method, variant, settings))
        for name, accuracy in run.accuracy.items():
            steps = [*(run.per_iteration.get(name) or [accuracy])[:-1], accuracy]
            row.measured.setdefault(_key(run, name), {})[run.seed] = steps
    for run in sorted(counted.values(), key=lambda run: run.method):
        if "features" in run.config:
            methods = table.features.setdefault(run.config["features"], [])
            methods += [run.method] if run.method not in methods else []
        for name, value in run.chosen.items():
            table.chosen.setdefault((run.method, name), []).append(value)
    table.rows = sorted(rows.values(), key=_row_order)
    for run in counted.values():
        if run.method != "zero_shot":  # which trains on none
            _add_shots(table.shots_there, run)
    keys = {key for row in table.rows for key in row.measured}
    known = [table.data, "imagenet", *published.TARGETS, *published.SHIFTED]

    def order(name: str) -> tuple[int, str]:
        return known.index(name) if name in known else len(known), name

    table.datasets = sorted({dataset for dataset, _ in keys}, key=order)
    table.departures = _departures(table, list(counted.values()))
    if table.protocol == "few_shot":
        table.columns = sorted({column for _, column in keys}, key=int)
    else:
        both = table.protocol == "base_to_novel"
        table.columns = ["base", "new", "h"] if both else ["accuracy"]
    for row in table.rows:
        row.cells = _cells(table, row)
    return duplicates


def _add_shots(there: dict[tuple[str, int], tuple[int, int]], run: Run) -> None:
    key = run.dataset, run.shots
    both = [run.shots_there, there.get(key, run.shots_there)]
    there[key] = min(least for least, _ in both), max(most for _, most in both)


def _departures(table: ResultTable, counted: Sequence[Run]) -> list[str]:
    found = {
        published.departure(name, *run.tested[name])
        for name in table.datasets
        for run in counted
        if name in run.tested
    }
    names = table.datasets
    return sorted(found - {""}, key=lambda text: (names.index(text.split(": ")[0]), text))


def _key(run: Run, name: str) -> Key:
    if run.protocol in SOURCE_PROTOCOLS:
        return name, "accuracy"
    return run.dataset, str(run.shots) if run.protocol == "few_shot" else name


def _row_order(row: Row) -> tuple:
    names = published.METHODS
    method = names.index(row.method) if row.method in names else len(names) - 1.5
    value = published.number(row.variant)
    if value is None and row.variant in published.COMPONENTS:
        value = list(published.COMPONENTS).index(row.variant)
    return method, row.method, value is None, value or 0, row.variant, row.settings


def _cells(table: ResultTable, row: Row) -> dict[Key, Cell]:
    cells = {}
    for key, seeds in row.measured.items():
        by_seed = {seed: steps[-1] for seed, steps in seeds.items()}
        cells[key] = Cell(statistics.fmean(by_seed.values()), by_seed, len(by_seed))
    for column in table.columns:
        parts = [cells[name, column] for name in table.averaged if (name, column) in cells]
        if len(parts) == len(table.averaged) > 1:
            first = set(parts[0].by_seed)
            same = first if all(set(part.by_seed) == first for part in parts) else set()
            by_seed = {s: statistics.fmean(part.by_seed[s] for part in parts) for s in sorted(same)}
            mean = statistics.fmean(part.mean for part in parts)
            cells[AVERAGE, column] = Cell(mean, by_seed, min(part.seeds for part in parts))
    for name, base in [(name, cell) for (name, column), cell in cells.items() if column == "base"]:
        new = cells.get((name, "new"))
        if new:
            by_seed = {s: harmonic_mean(base.by_seed[s], new.by_seed[s]) for s in base.by_seed}
            cells[name, "h"] = Cell(harmonic_mean(base.mean, new.mean), by_seed, base.seeds)
    return {key: _with_published(table, row, key, cell) for key, cell in cells.items()}


def _with_published(table: ResultTable, row: Row, key: Key, cell: Cell) -> Cell:
    dataset, column = key
    comparable = set(table.averaged) == set(published.AVERAGED.get(table.protocol, ()))
    if table.shots != published.SHOTS or (dataset == AVERAGE and not comparable):
        return cell
    # Papers have their source in these tables, so another source's targets are another figure.
    if table.protocol in SOURCE_PROTOCOLS and table.data != "imagenet":
        return cell
    found = published.find(table.protocol, table.ablation, row.method, row.variant, dataset, column)
    return replace(cell, published=found)

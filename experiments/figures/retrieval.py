"""Tables of text-video retrieval: means over seeds, published figures beside them."""

import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from experiments.figures import long, tables
from experiments.figures.papers import published, published_actions
from experiments.figures.papers.published import Published
from experiments.figures.result_table import Cell, Key, Row, make_rows, published_lines
from experiments.record import peers
from experiments.record.runs import EVALUATION, METRICS, RETRIEVAL, TOLD_APART, WAYS, Run

TEST = "test"
COLUMNS = published.RANKS
LEGEND = (
    "t2v: text-to-video retrieval, v2t: video-to-text retrieval. R@K in %, MnR and MdR are the "
    "mean and the median rank, from 1. Told apart: % of captions that are more similar to their "
    "video than to the same frames in reverse order; 50 is chance."
)
BRACKETS = (
    "In brackets: the 95 % interval of R@K over test videos (Wilson), for several seeds the mean "
    "of its ends; it does not contain the spread over seeds."
)


@dataclass(frozen=True)
class RetrievalTable:
    """Runs that may be compared: one data set, ablation and backbone.

    Attributes:
        dataset: the training data set.
        tests: the test sets; "test" is that of the data set itself.
        rows: cells by test set and metric, e.g. ("test", "t2v R@1").
        protocol: `RETRIEVAL`; or `EVALUATION`, which tests its models on other videos.
        intervals: whether 95 % intervals are shown.
    """

    dataset: str
    ablation: str
    backbone: str
    backbone_hash: str
    protocol: str
    tests: Sequence[str]
    rows: Sequence[Row]
    intervals: bool = False

    def text(self, row: Row, key: Key) -> str:
        """Returns a cell of a row as text; "" where it was not tested."""
        return row.cells[key].text(self.intervals) if key in row.cells else ""

    @property
    def title(self) -> str:
        """The protocol, the data set, and the backbone with its hash."""
        return f"{self.heading} ({self.backbone_hash[:8]})"

    @property
    def heading(self) -> str:
        """The title without the hash, as in figures of papers."""
        ablation = f", ablation: {self.ablation}" if self.ablation else ""
        by = f"trained on {self.dataset} by {RETRIEVAL}"
        data = by if self.protocol == EVALUATION else self.dataset
        return f"{self.protocol}{ablation}, {data}, backbone {self.backbone}"


def average(found: Sequence[Run], intervals: bool = False) -> list[RetrievalTable]:
    """Averages the runs of retrieval among others; of runs of one seed the newest counts."""
    groups: dict[tuple[str, str, str, str, str], list[Run]] = defaultdict(list)
    for run in peers.with_zero_shot([run for run in found if run.ranks]):
        groups[run.dataset, run.ablation, run.backbone, run.backbone_hash, run.protocol].append(run)
    ordered = sorted(groups, key=lambda key: (key[-1] == EVALUATION, key))
    return [_table(key, groups[key], intervals) for key in ordered]


def _table(
    key: tuple[str, str, str, str, str], found: Sequence[Run], intervals: bool
) -> RetrievalTable:
    counted, _ = long.newest(found)
    lines = long.table(
        {
            **dict(zip(long.ROW, row, strict=True)),
            **{"dataset": test, "metric": f"{way} {metric}", "seed": run.seed, "value": value},
            **dict(zip(("low", "high"), ends.get(metric, ()), strict=False)),
        }
        for row, run in counted
        for test, ways in run.ranks.items()
        for way, metrics in ways.items()
        for ends in [run.rank_intervals.get(test, {}).get(way, {})]
        for metric, value in metrics.items()
    )
    # A figure counts if every seed of its row has it. Evaluations of several test sets are several
    # runs of one seed.
    cells = long.means(lines.drop_duplicates([*long.CELL, "seed"], keep="last"))
    seeds = lines.groupby(long.ROW).seed.nunique().rename("all_seeds").reset_index()
    cells = cells[cells.merge(seeds, "left", long.ROW).all_seeds == cells.seeds]
    names = published_actions.METHODS

    def order(row: Row) -> tuple:
        place = names.index(row.method) if row.method in names else len(names)
        return place, row.method, row.variant, row.settings

    tests = list(dict.fromkeys(test for run in found for test in run.ranks))
    rows = sorted(make_rows(counted, lines, cells), key=order)
    table = RetrievalTable(*key, tests, rows, intervals)
    for row in table.rows:
        for column, figure in _published(table, row).items():
            if (TEST, column) in row.cells:
                cell = row.cells[TEST, column]
                row.cells[TEST, column] = cell._replace(published=figure)
    return table


def _published(table: RetrievalTable, row: Row) -> dict[str, Published]:
    """Returns published figures by column; none where none are comparable."""
    if table.ablation or row.variant or row.settings:
        return {}
    config = row.runs[0].config
    if table.backbone in published.BACKBONE_NAMES and published_actions.settings_difference(
        RETRIEVAL, row.method, config
    ):
        return {}
    return published.find_ranks(row.method, table.dataset, table.backbone)


def overview(table: RetrievalTable) -> tuple[list[str], list[list[str]]]:
    """Returns headers and lines: trained parameters, training time, R@1, and "told apart"."""
    wanted = {f"{way} R@1": (TEST, f"{way} R@1") for way in WAYS if TEST in table.tests}
    for test in table.tests:
        name = "" if test == TEST else f"{test}: "
        if name:
            wanted[f"{name}t2v R@1"] = test, "t2v R@1"
        apart = test, f"t2v {TOLD_APART}"
        if any(apart in row.cells for row in table.rows):
            wanted[f"{name}{TOLD_APART}"] = apart
    lines = []
    for row in table.rows:
        seconds = f"{statistics.fmean(run.train_seconds for run in row.runs):.0f}"
        if table.protocol == EVALUATION:
            seconds = ""  # models do not record it
        first = min(row.runs, key=lambda run: run.seed)
        parameters = "" if first.trainable is None else f"{first.trainable:,}"
        seeds = str(len({run.seed for run in row.runs}))
        cells = [table.text(row, key) for key in wanted.values()]
        sees = tables.sees_at_test(row.method, "videos")
        lines.append([row.label, seeds, parameters, seconds, *cells, sees])
    return ["method", "seeds", "parameters", "training, s", *wanted, tables.SEES], lines


def in_full(table: RetrievalTable, test: str) -> tuple[list[str], list[list[str]]]:
    """Returns headers and lines of every metric on one test set, with published lines."""
    lines = []
    for row in table.rows:
        cells: list[Cell | None] = [row.cells.get((test, column)) for column in COLUMNS]
        if all(cells):
            lines.append([row.label, *(table.text(row, (test, column)) for column in COLUMNS)])
            lines += published_lines(cells, "g")
    return ["method", *COLUMNS], lines


def bars(table: RetrievalTable) -> Mapping[str, Mapping[str, tuple]]:
    """Returns R@1 of each row for a plot, with its deviation and the published figure."""
    found: dict[str, dict[str, tuple]] = {}
    for row in table.rows:
        for test in table.tests:
            if cell := row.cells.get((test, "t2v R@1")):
                name = "t2v R@1" if test == TEST else f"{test}: t2v R@1"
                published = cell.published.value if cell.published else None
                found.setdefault(row.label, {})[name] = cell.mean, cell.deviation, published
    return found


def markdown(table: RetrievalTable, remarks: Sequence[str]) -> str:
    """Returns a section of a page: remarks, the overview, every metric of every test set."""
    shown = [BRACKETS] if table.intervals else []
    text = tables.heading(table.title, 2)
    text += "".join(map(tables.paragraph, [*remarks, *shown]))
    text += tables.markdown(*overview(table)) + "\n"
    for test in table.tests:
        text += tables.heading(table.dataset if test == TEST else test, 3)
        text += tables.markdown(*in_full(table, test)) + "\n"
    return text


def records(table: RetrievalTable) -> Iterator[dict[str, object]]:
    """Yields a record per row, test set, direction and metric, see `long.FIELDS`."""
    wanted = [f"{way} {metric}" for way in WAYS for metric in (*METRICS, TOLD_APART)]
    for row in table.rows:
        for key in ((test, column) for test in table.tests for column in wanted):
            if key in row.cells:
                yield {
                    **row.record(table, key),
                    "source": table.dataset,
                    "dataset": table.dataset if key[0] == TEST else key[0],
                }

"""Runs of retrieval become tables: means over seeds, published figures beside them."""

import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from experiments.figures import tables
from experiments.figures.papers import published_actions, published_video
from experiments.figures.papers.published import BACKBONE_NAMES
from experiments.record import peers
from experiments.record.runs import EVALUATION, METRICS, RETRIEVAL, TOLD_APART, WAYS, Run
from prompt_jax.evaluation.reliability import Interval

TEST = "test"
LEGEND = (
    "t2v: captions search videos, v2t: videos search captions. R@K in %, MnR and MdR are the mean "
    "and the median rank, from 1. Told apart: % of captions nearer to their video than to the same "
    "frames in opposite order; 50 is chance."
)

BRACKETS = (
    "In brackets: the 95 % interval of R@K over test videos (Wilson's), of several seeds the "
    "mean of its ends; the seeds' own spread is not in it."
)


@dataclass(frozen=True)
class Row:
    """A method, its variant and settings, and its runs, one a seed."""

    method: str
    variant: str
    settings: str
    runs: Sequence[Run]

    @property
    def label(self) -> str:
        """How the row is called in tables and plots."""
        return tables.row_label(self.method, self.variant, self.settings)

    def figures(self, key: str, direction: str, metric: str) -> list[float]:
        """One a seed; empty where a run did not test that."""
        found = [run.ranks.get(key, {}).get(direction, {}).get(metric) for run in self.runs]
        return [] if None in found else [value for value in found if value is not None]

    def interval(self, key: str, direction: str, metric: str) -> Interval | None:
        """Over test videos, 95 %: the mean of the seeds' ends; None where one has none."""
        found = [
            run.rank_intervals.get(key, {}).get(direction, {}).get(metric) for run in self.runs
        ]
        ends = [one for one in found if one is not None]
        if len(ends) < len(found):
            return None
        low, high = map(statistics.fmean, zip(*ends, strict=True))
        return low, high


@dataclass(frozen=True)
class RetrievalTable:
    """Runs that may be compared: one data set, ablation and backbone.

    Attributes:
        dataset: that they trained on.
        tests: what was tested: "test" is the data set's own videos.
        protocol: `RETRIEVAL`; or `EVALUATION`, which tests what that trained on other videos.
        intervals: whether 95 % intervals are shown.
    """

    dataset: str
    ablation: str
    backbone: str
    backbone_hash: str
    tests: Sequence[str]
    rows: Sequence[Row]
    protocol: str = RETRIEVAL
    intervals: bool = False

    def cell(self, row: Row, key: str, direction: str, metric: str) -> str:
        """What a row measured, in words; "" where it did not test that."""
        values = row.figures(key, direction, metric)
        if not values:
            return ""
        ends = row.interval(key, direction, metric) if self.intervals else None
        return tables.mean_and_deviation(values) + tables.in_brackets(ends)

    @property
    def title(self) -> str:
        """What was measured, on what; the backbone with its hash."""
        return f"{self.heading} ({self.backbone_hash[:8]})"

    @property
    def heading(self) -> str:
        """The same without the hash, as a figure in a paper has it."""
        ablation = f", ablation: {self.ablation}" if self.ablation else ""
        data = self.dataset
        if self.protocol == EVALUATION:
            data = f"trained on {data} by {RETRIEVAL}"
        return f"{self.protocol}{ablation}, {data}, backbone {self.backbone}"


def average(found: Sequence[Run], intervals: bool = False) -> list[RetrievalTable]:
    """Tables of the runs of retrieval among others; of runs of one seed the newest counts."""
    groups: dict[tuple[str, str, str, str, str], list[Run]] = defaultdict(list)
    for run in peers.with_zero_shot([run for run in found if run.ranks]):
        groups[run.dataset, run.ablation, run.backbone, run.backbone_hash, run.protocol].append(run)
    return [
        RetrievalTable(
            dataset, ablation, backbone, backbone_hash, _tests(runs), _rows(runs), way, intervals
        )
        for (dataset, ablation, backbone, backbone_hash, way), runs in sorted(
            groups.items(), key=lambda group: (group[0][-1] == EVALUATION, group[0])
        )
    ]


def _tests(found: Sequence[Run]) -> list[str]:
    return list(dict.fromkeys(key for run in found for key in run.ranks))


def _rows(found: Sequence[Run]) -> list[Row]:
    rows: dict[tuple[str, str, str], dict[int, Run]] = defaultdict(dict)
    labelled = zip(found, peers.label_differences(found), strict=True)
    for run, settings in sorted(labelled, key=lambda pair: (pair[0].changed, pair[0].path)):
        seeds = rows[run.method, run.variant, settings]
        if run.protocol == EVALUATION and run.seed in seeds:  # each is of one test set
            other = seeds[run.seed]
            run = replace(
                run,
                ranks={**other.ranks, **run.ranks},
                rank_intervals={**other.rank_intervals, **run.rank_intervals},
            )
        seeds[run.seed] = run
    return [
        Row(*key, [by_seed[seed] for seed in sorted(by_seed)])
        for key, by_seed in sorted(rows.items(), key=lambda item: _order(*item[0]))
    ]


def _order(method: str, variant: str, settings: str) -> tuple:
    names = [*published_video.MSRVTT_9K, *published_actions.METHODS]
    return names.index(method) if method in names else len(names), method, variant, settings


def overview(table: RetrievalTable) -> tuple[list[str], list[list[str]]]:
    """The table on one page: headers and cells; what trains, how long, R@1, what time tells."""
    wanted = {f"{way} R@1": (TEST, way, "R@1") for way in WAYS if TEST in table.tests}
    for key in table.tests:
        name = "" if key == TEST else f"{key}: "
        if name:
            wanted[f"{name}t2v R@1"] = key, "t2v", "R@1"
        if any(row.figures(key, "t2v", TOLD_APART) for row in table.rows):
            wanted[f"{name}{TOLD_APART}"] = key, "t2v", TOLD_APART
    lines = []
    for row in table.rows:
        seconds = f"{statistics.fmean(run.train_seconds for run in row.runs):.0f}"
        if table.protocol == EVALUATION:
            seconds = ""  # a model does not tell
        parameters = "" if row.runs[0].trainable is None else f"{row.runs[0].trainable:,}"
        cells = [table.cell(row, *one) for one in wanted.values()]
        lines.append([row.label, str(len(row.runs)), parameters, seconds, *cells])
    return ["method", "seeds", "parameters", "training, s", *wanted], lines


def in_full(table: RetrievalTable, key: str) -> tuple[list[str], list[list[str]]]:
    """Every metric on one test set: headers and cells, the published ones below the measured."""
    wanted = [(way, metric) for way in WAYS for metric in METRICS]
    lines = []
    for row in table.rows:
        figures = [row.figures(key, *one) for one in wanted]
        if not all(figures):
            continue
        lines.append([row.label, *(table.cell(row, key, *one) for one in wanted)])
        if printed := _published(table, row, key):
            means = dict(zip(wanted, map(statistics.fmean, figures), strict=True))
            known = [one if one in printed else None for one in wanted]
            lines.append(["– published", *(f"{printed[one]:g}" if one else "" for one in known)])
            differences = [f"{means[one] - printed[one]:+.2f}" if one else "" for one in known]
            lines.append(["– difference", *differences])
    return ["method", *(f"{way} {metric}" for way, metric in wanted)], lines


def _published(table: RetrievalTable, row: Row, key: str) -> dict[tuple[str, str], float]:
    """Figures by direction and metric; empty where none are comparable."""
    if key != TEST or table.ablation or row.variant or row.settings:
        return {}
    name, run = table.dataset, row.runs[0]
    if table.backbone in published_video.BACKBONE_NAMES and name == published_video.DATASET:
        figures = published_video.MSRVTT_9K.get(row.method, ())
        metrics = [(way, metric) for way in WAYS for metric in METRICS]
        return dict(zip(metrics, figures, strict=False))
    if table.backbone in BACKBONE_NAMES:
        if published_actions.departure(RETRIEVAL, row.method, run.config):
            return {}
        return {("t2v", m): value for m, value in published_actions.ranks(row.method, name).items()}
    return {}


def _source(table: RetrievalTable) -> str:
    vop = table.backbone in published_video.BACKBONE_NAMES
    return published_video.SOURCE if vop else published_actions.RETRIEVAL_SOURCE


def bars(table: RetrievalTable) -> Mapping[str, Mapping[str, tuple]]:
    """R@1 of each row for a plot, with its deviation and what was published."""
    found: dict[str, dict[str, tuple]] = {}
    for row in table.rows:
        for key in table.tests:
            if values := row.figures(key, "t2v", "R@1"):
                deviation = tables.deviation(values)
                printed = _published(table, row, key)
                name = "t2v R@1" if key == TEST else f"{key}: t2v R@1"
                bar = statistics.fmean(values), deviation, printed.get(("t2v", "R@1"))
                found.setdefault(row.label, {})[name] = bar
    return found


def markdown(table: RetrievalTable, remarks: Sequence[str]) -> str:
    """A section of a page: what to know, the overview, every metric of every test set."""
    shown = [BRACKETS] if table.intervals else []
    text = tables.heading(table.title, 2)
    text += "".join(map(tables.paragraph, [*remarks, *shown]))
    text += tables.markdown(*overview(table)) + "\n"
    for key in table.tests:
        text += tables.heading(table.dataset if key == TEST else key, 3)
        text += tables.markdown(*in_full(table, key)) + "\n"
    return text


def records(table: RetrievalTable) -> Iterator[dict[str, object]]:
    """The table to compute with, a record per row, test set, direction and metric."""
    for row in table.rows:
        for key in table.tests:
            for way in WAYS:
                for metric in (*METRICS, TOLD_APART):
                    values = row.figures(key, way, metric)
                    if not values:
                        continue
                    deviation = tables.deviation(values)
                    mean, printed = statistics.fmean(values), _published(table, row, key)
                    beside = printed.get((way, metric))
                    low, high = row.interval(key, way, metric) or (None, None)
                    yield {
                        "protocol": table.protocol,
                        "ablation": table.ablation,
                        "backbone": table.backbone,
                        "backbone_hash": table.backbone_hash,
                        "source": table.dataset,
                        "method": row.method,
                        "variant": row.variant,
                        "settings": row.settings,
                        "dataset": table.dataset if key == TEST else key,
                        "metric": f"{way} {metric}",
                        "mean": f"{mean:.4f}",
                        "std": "" if deviation is None else f"{deviation:.4f}",
                        "n_seeds": len(values),
                        "n_seeds_most": len(values),
                        "low": "" if low is None else f"{low:.4f}",
                        "high": "" if high is None else f"{high:.4f}",
                        "published": "" if beside is None else f"{beside:.4f}",
                        "difference": "" if beside is None else f"{mean - beside:.4f}",
                        "published_source": "" if beside is None else _source(table),
                    }

"""Averages accuracies over seeds and data sets, and adds published figures."""

import functools
import math
import re
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from data_pipelines import scenes
from data_pipelines.datasets import split_domain
from experiments.figures import long, tables
from experiments.figures.long import CELL, ROW, RowKey
from experiments.figures.papers import comparable, published, published_actions
from experiments.figures.result_table import (
    AVERAGE,
    ECE,
    FURTHER,
    MACRO,
    MERGED,
    TOP5,
    Key,
    ResultTable,
    Row,
    make_rows,
)
from experiments.record import peers, runs, training_list
from experiments.record.runs import EVALUATION, ON_ALL, SOURCE_PROTOCOLS, Run
from prompt_jax.evaluation.metrics import harmonic_mean
from prompt_jax.evaluation.reliability import harmonic, wilson

_REVERSALS = {name: action.reversal for name, action in scenes.ACTIONS.items()}


def average(
    found: Sequence[Run], calibration: bool = False, intervals: bool = False
) -> tuple[list[ResultTable], list[str]]:
    """Averages over seeds and data sets.

    H of a data set is that of its base and new accuracies after averaging over seeds, H of an
    average that of the averaged base and new, as in the papers of the CoOp family. Data sets have
    equal weight, each with the mean over all of its seeds, even if some have more than others; the
    number of seeds is then "2 to 3", and there is no deviation, as there is no average per seed.
    Rows that have every data set of the table get an average, which is compared with the published
    one only if it is over the same data sets. Of two runs with the same seed the newer counts.

    Args:
        found: the runs.
        calibration, intervals: whether tables show them.

    Returns:
        tables, and a line for each run that is ignored.
    """
    groups: dict[tuple, list[Run]] = defaultdict(list)
    for run in peers.with_zero_shot([run for run in found if not run.ranks]):
        shots = None if run.protocol in ("few_shot", *ON_ALL) else run.shots
        if run.trained_by in ON_ALL or not run.shots:  # a model need not record its shots
            shots = None
        data = _kind(run), run.trained_by, shots
        groups[run.protocol, run.ablation, run.backbone, run.backbone_hash, *data].append(run)
    done, remarks = [], []
    for key in sorted(groups, key=lambda key: (runs.PROTOCOLS.index(key[0]), *map(str, key[1:]))):
        table = ResultTable(*key)
        table.intervals = intervals
        remarks += _fill(table, groups[key], calibration)
        done.append(table)
    return done, remarks


def _kind(run: Run) -> str:
    """Returns the data of a table: the source, the rendered scenes and their domain, or actions."""
    if run.protocol in SOURCE_PROTOCOLS or run.dataset.startswith("emoji_"):
        return run.dataset
    return "actions" if split_domain(run.dataset)[0] in published_actions.DATASETS else ""


def _fill(table: ResultTable, found: Sequence[Run], calibration: bool) -> list[str]:
    """Fills a table; returns a line for each run that a newer one replaces."""
    counted, replaced = long.newest(found)
    lines = long.table(line for key, run in counted for line in _measure(key, run))
    _describe_training(table, [run for _, run in counted])
    table.splits = _splits(table, {*lines.dataset})
    lines = pd.concat([lines, *(_mean_of_splits(lines, *one) for one in table.splits.items())])
    table.datasets = sorted({*lines.dataset}, key=lambda name: _data_set_order(table, name))
    columns, _, measures = zip(*(metric.partition(", ") for metric in lines.metric), strict=True)
    further = [measure for measure in FURTHER if measure in measures]
    table.further = [measure for measure in further if calibration or measure != ECE]
    table.columns = ["accuracy"]
    if table.protocol == "few_shot":
        table.columns = sorted({*columns}, key=int)
    elif table.protocol not in SOURCE_PROTOCOLS:
        table.columns = [_column(name) for name in runs.TESTS[table.protocol]]
        table.columns += ["h"] if table.protocol == "base_to_novel" else []
    cells = _cells(table, lines, ["", *(f", {measure}" for measure in further)])
    table.rows = sorted(make_rows(counted, lines, cells), key=_row_order)
    for row in table.rows:
        for key, cell in row.cells.items():
            row.cells[key] = cell._replace(published=comparable.find_published(table, row, key))
    table.data_differences = comparable.data_differences(table, [run for _, run in counted])
    table.settings_differences = comparable.settings_differences(table)
    # Every run measures the same zero-shot CLIP.
    return [_explain(*pair) for pair in replaced if pair[1].accuracy is not pair[1].zero_shot]


def _explain(older: Run, run: Run) -> str:
    variant = f" {run.variant}" if run.variant else ""
    same = f"{run.method}{variant}, {run.dataset}, {run.shots} shots, seed {run.seed}"
    text = f"{older.path} is ignored: {run.path} is "
    if not training_list.differ(older.drawn, run.drawn):
        return f"{text}a newer run with the same settings ({same})"
    other = "of another model" if run.protocol == EVALUATION else "trained on other images"
    return f"{text}newer and has the same name ({same}), but is {other}; tabulate them separately"


def _measure(row: RowKey, run: Run) -> Iterator[dict[str, Any]]:
    """Yields a line for each figure of a run."""
    for name, accuracy in run.accuracy.items():
        dataset, column = _key(run, name)

        line = functools.partial(_line, run.seed, row, dataset, column)
        steps = [*(run.per_iteration.get(name) or [accuracy])[:-1], accuracy]
        yield line(accuracy, steps=steps, images=run.data.get(f"images of {name}", 0))
        further = ((TOP5, run.top5), (MACRO, run.macro), (ECE, run.calibration))
        for measure, values in further:
            if name in values:
                yield line(values[name], measure)
        of_videos = name if run.protocol in SOURCE_PROTOCOLS else run.dataset
        if name in run.confusions and of_videos.startswith("emoji_clips"):
            yield line(run.confusions[name].accuracy(_REVERSALS), MERGED)


def _line(
    seed: int, row: RowKey, dataset: str, column: str, value: float, measure: str = "", **more: Any
) -> dict[str, Any]:
    metric = f"{column}, {measure}" if measure else column
    where = dict(zip(CELL, (*row, dataset, metric), strict=True))
    return {**where, "seed": seed, "value": value, "steps": [value], **more}


def _key(run: Run, name: str) -> Key:
    if run.protocol in SOURCE_PROTOCOLS:
        return name, "accuracy"
    return run.dataset, str(run.shots) if run.protocol == "few_shot" else _column(name)


def _column(test: str) -> str:
    return "accuracy" if test == "test" else test


def _describe_training(table: ResultTable, counted: Sequence[Run]) -> None:
    """Records the features, chosen settings and numbers of shots of a table's runs."""
    for run in sorted(counted, key=lambda run: run.method):
        if "features" in run.config:
            methods = table.features.setdefault(run.config["features"], [])
            methods += [run.method] if run.method not in methods else []
        for name, value in run.chosen.items():
            table.chosen.setdefault((run.method, name), []).append(value)
    for run in counted:
        # Some methods train on no images, some protocols on all of them.
        if tables.trains(run.method, run.kind) and not {run.protocol, run.trained_by} & {*ON_ALL}:
            key = run.dataset, run.shots
            least, most = table.shots_there.get(key, run.shots_there)
            there = min(least, run.shots_there[0]), max(most, run.shots_there[1])
            table.shots_there[key] = there


def _splits(table: ResultTable, names: set[str]) -> dict[str, list[str]]:
    """Returns test sets that have several splits, "name:val1", …, and are not there as a whole."""
    found: dict[str, list[str]] = defaultdict(list)
    for name in sorted(names) if table.protocol in SOURCE_PROTOCOLS else ():
        whole, part = split_domain(name)
        if re.fullmatch(r"val\d", part or "") and whole not in names:
            found[whole].append(name)
    return {whole: parts for whole, parts in found.items() if len(parts) > 1}


def _mean_of_splits(lines: pd.DataFrame, whole: str, parts: Sequence[str]) -> pd.DataFrame:
    """Returns lines of the mean over a data set's splits, for seeds that have all of them."""
    found = _per_seed(lines[lines.dataset.isin(parts)])
    found = found[found.number == len(parts)]
    return found.assign(dataset=whole, steps=[[value] for value in found.value])


def _per_seed(lines: pd.DataFrame) -> pd.DataFrame:
    """Averages lines over data sets: a line per row, metric and seed."""
    grouped = lines.groupby([*ROW, "metric", "seed"], sort=False)
    return grouped.agg(value=("value", statistics.fmean), number=("value", "size")).reset_index()


def _data_set_order(table: ResultTable, name: str) -> tuple[int, str]:
    known = [table.data, "imagenet", *published.TARGETS, *published.SHIFTED]
    known += published_actions.DATASETS
    whole = name if name in known else split_domain(name)[0]
    return known.index(whole) if whole in known else len(known), name


def _row_order(row: Row) -> tuple:
    names = (*published.METHODS, *published_actions.METHODS)
    unknown = len(published.METHODS) - 1.5
    method = names.index(row.method) if row.method in names else unknown
    value = published.number(row.variant)
    components = ["", *published.COMPONENTS]
    if value is None and row.variant in components:
        value = components.index(row.variant)
    return method, row.method, value is None, value or 0, row.variant, row.settings


def _cells(table: ResultTable, lines: pd.DataFrame, endings: Sequence[str]) -> pd.DataFrame:
    """Returns the means over seeds, then those over data sets, then H; see `long.means`.

    Args:
        table: whose data sets and columns are known.
        lines: of its runs.
        endings: of metrics: "", ", top-5", …
    """
    cells = long.means(lines)
    for whole, parts in table.splits.items():
        spread = cells[cells.dataset.isin(parts)].groupby([*ROW, "metric"])["mean"]
        spread = spread.agg(long.deviation).rename("spread").reset_index()
        of_splits = cells[CELL].merge(spread, "left", [*ROW, "metric"]).spread
        cells["std"] = cells["std"].where(cells.dataset != whole, of_splits)
    measured = [one for one in cells.itertuples() if one.images > 0]
    for one in measured:
        cells.loc[one.Index, ["low", "high"]] = wilson(one.mean, one.images)
    averages, per_seed = _over_data_sets(table, cells, lines, endings)
    cells, lines = pd.concat([cells, averages]), pd.concat([lines, per_seed])
    means = [_harmonic(cells, lines, ending) for ending in endings if ECE not in ending]
    return pd.concat([cells, *means])


def _over_data_sets(
    table: ResultTable, cells: pd.DataFrame, lines: pd.DataFrame, endings: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns averages of rows that have all data sets, and lines where seeds are the same."""
    names = table.averaged if len(table.averaged) > 1 else []
    order = [f"{column}{ending}" for column in table.columns for ending in endings]
    lines = _per_seed(lines[lines.dataset.isin(names)]).assign(dataset=AVERAGE)
    whole = lines.groupby([*ROW, "metric"]).number.transform("min") == len(names)
    lines = lines[whole]
    found = cells[cells.dataset.isin(names)].groupby([*ROW, "metric"], sort=False)
    averages = found.agg(
        mean=("mean", statistics.fmean),
        seeds=("seeds", "min"),
        most_seeds=("most_seeds", "max"),
        number=("mean", "size"),
    )
    averages = averages[averages.number == len(names)].reset_index().assign(dataset=AVERAGE)
    averages = averages.sort_values("metric", key=lambda each: each.map(order.index), kind="stable")
    return _with_std(averages, lines), lines


def _with_std(cells: pd.DataFrame, lines: pd.DataFrame) -> pd.DataFrame:
    std = lines.groupby(CELL).value.agg(long.deviation).rename("std").reset_index()
    return cells.merge(std, "left", CELL)


def _harmonic(cells: pd.DataFrame, lines: pd.DataFrame, ending: str) -> pd.DataFrame:
    """Returns H of each data set that has base and new classes."""

    def join(frame: pd.DataFrame, keys: list[str], value: str) -> pd.DataFrame:
        base, new = (frame[frame.metric == f"{half}{ending}"] for half in ("base", "new"))
        both = base.merge(new, on=keys, suffixes=("", "_new"))
        pairs = zip(both[value], both[f"{value}_new"], strict=True)
        return both.assign(metric=f"h{ending}", h=[harmonic_mean(*pair) for pair in pairs])

    keys = [*ROW, "dataset"]
    of_seeds = join(lines, [*keys, "seed"], "value")
    found = join(cells, keys, "mean").drop(columns="std")
    found = _with_std(found, of_seeds.drop(columns="value").rename(columns={"h": "value"}))
    found["low"] = found["high"] = math.nan
    for one in found.itertuples() if not ending else ():
        if one.images > 0 and one.images_new > 0:
            ends = harmonic(one.mean, int(one.images), one.mean_new, int(one.images_new))
            found.loc[one.Index, ["low", "high"]] = ends
    return found.drop(columns="mean").rename(columns={"h": "mean"})

"""Runs become rows of tables: means over seeds and data sets, published figures beside them."""

import re
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from data_pipelines import scenes
from data_pipelines.datasets import split_domain
from experiments.figures.papers import comparable, published, published_actions
from experiments.figures.result_table import (
    AVERAGE,
    ECE,
    FURTHER,
    MERGED,
    TOP5,
    Cell,
    Key,
    ResultTable,
    Row,
)
from experiments.record import peers, runs, training_list
from experiments.record.runs import EVALUATION, SOURCE_PROTOCOLS, SUPERVISED, TRANSFER, Run
from prompt_jax.evaluation.metrics import harmonic_mean
from prompt_jax.evaluation.reliability import harmonic, wilson

_ON_ALL = (SUPERVISED, TRANSFER)  # train on all examples, not on shots
_REVERSALS = {name: action.reversal for name, action in scenes.ACTIONS.items()}


def average(
    found: Sequence[Run], calibration: bool = False, intervals: bool = False
) -> tuple[list[ResultTable], list[str]]:
    """Averages over seeds and data sets.

    H of a data set is that of its seed-averaged base and new accuracies, H of an average that of
    the averaged base and new, as the CoOp family of papers does. Data sets count alike, each by the
    mean over all of its seeds, also where some have more than others; the number is then "2 to 3",
    and there is no deviation, as there is no seed-wise average. An average is given to rows that
    have every data set of the table, and compared with the published one only if it is over the
    same data sets. Runs are never averaged with a second run of the same seed: the newer counts.

    Args:
        found: the runs.
        calibration, intervals: whether tables show them; they have them.

    Returns:
        tables, and a line for each run that did not count.
    """
    groups: dict[tuple, list[Run]] = defaultdict(list)
    for run in peers.with_zero_shot([run for run in found if not run.ranks]):
        shots = None if run.protocol in ("few_shot", *_ON_ALL) else run.shots
        if run.trained_by in _ON_ALL or not run.shots:  # a model need not tell
            shots = None
        data = _kind(run), run.trained_by, shots
        key = (run.protocol, run.ablation, run.backbone, run.backbone_hash, *data)
        groups[key].append(run)
    done, duplicates = [], []
    for key in sorted(groups, key=lambda key: (runs.PROTOCOLS.index(key[0]), *map(str, key[1:]))):
        table = ResultTable(*key, intervals=intervals)
        duplicates += _fill(table, groups[key])
        if not calibration:
            table.further = [measure for measure in table.further if measure != ECE]
        done.append(table)
    return done, duplicates


def _kind(run: Run) -> str:
    """What data its table is of: the source; the scenes or videos and their domain; or actions."""
    if run.protocol in SOURCE_PROTOCOLS or run.dataset.startswith("emoji_"):
        return run.dataset
    return "actions" if split_domain(run.dataset)[0] in published_actions.DATASETS else ""


def _fill(table: ResultTable, found: Sequence[Run]) -> list[str]:
    """Gives a table its rows; returns a line for each run that an equal, newer one replaces."""
    counted: dict[tuple, Run] = {}
    duplicates = []
    labelled = zip(found, peers.label_differences(found), strict=True)
    for run, settings in sorted(labelled, key=lambda pair: (pair[0].changed, pair[0].path)):
        # An evaluation is of one test set; a run has all of its protocol's.
        tested = tuple(run.accuracy) if run.protocol == EVALUATION else ()
        cell = (run.method, run.variant, settings, run.dataset, run.shots, run.seed, tested)
        older = counted.get(cell)
        # Zero-shot figures come with every run, and are the same.
        if older and run.accuracy is not run.zero_shot:
            duplicates.append(_replaced(older, run))
        counted[cell] = run
    rows: dict[tuple, Row] = {}
    for (method, variant, settings, *_), run in counted.items():
        row = rows.setdefault((method, variant, settings), Row(method, variant, settings))
        row.runs.append(run)
        for key, steps in _measured(run):
            row.measured.setdefault(key, {})[run.seed] = steps
    for run in sorted(counted.values(), key=lambda run: run.method):
        if "features" in run.config:
            methods = table.features.setdefault(run.config["features"], [])
            methods += [run.method] if run.method not in methods else []
        for name, value in run.chosen.items():
            table.chosen.setdefault((run.method, name), []).append(value)
    table.rows = sorted(rows.values(), key=_row_order)
    # Zero-shot CLIP trains on none, others on all that there are.
    for run in counted.values():
        if run.method != "zero_shot" and not {run.protocol, run.trained_by} & {*_ON_ALL}:
            _add_shots(table.shots_there, run)
    table.splits = _splits(table)
    for row in table.rows:
        _add_means_over_splits(table, row)
    keys = {key for row in table.rows for key in row.measured}
    known = [table.data, "imagenet", *published.TARGETS, *published.SHIFTED]
    known += published_actions.DATASETS

    def order(name: str) -> tuple[int, str]:
        whole = name if name in known else split_domain(name)[0]
        return known.index(whole) if whole in known else len(known), name

    table.datasets = sorted({dataset for dataset, _ in keys}, key=order)
    table.departures = comparable.departures(table, list(counted.values()))
    measures = {column.partition(", ")[2] for _, column in keys}
    table.further = [measure for measure in FURTHER if measure in measures]
    if table.protocol == "few_shot":
        table.columns = sorted({column.partition(", ")[0] for _, column in keys}, key=int)
    else:
        both = table.protocol == "base_to_novel"
        table.columns = ["base", "new", "h"] if both else ["accuracy"]
    for row in table.rows:
        row.cells = _cells(table, row)
    table.unlike = comparable.unlike(table)
    return duplicates


def _replaced(older: Run, run: Run) -> str:
    variant = f" {run.variant}" if run.variant else ""
    same = f"{run.method}{variant}, {run.dataset}, {run.shots} shots, seed {run.seed}"
    text = f"{older.path} does not count: {run.path} is "
    if not training_list.differ(older.drawn, run.drawn):
        return f"{text}a newer run of the same ({same})"
    other = "of another model" if run.protocol == EVALUATION else "trained on other images"
    return f"{text}newer and called the same ({same}), but {other}; make tables of each by itself"


def _measured(run: Run) -> list[tuple[Key, list[float]]]:
    """The figures of a run by the cells that they belong into; accuracies after each iteration."""
    found = []
    for name, accuracy in run.accuracy.items():
        dataset, column = _key(run, name)
        steps = [*(run.per_iteration.get(name) or [accuracy])[:-1], accuracy]
        found.append(((dataset, column), steps))
        if name in run.top5:
            found.append(((dataset, f"{column}, {TOP5}"), [run.top5[name]]))
        if name in run.calibration:
            found.append(((dataset, f"{column}, {ECE}"), [run.calibration[name]]))
        of_videos = name if run.protocol in SOURCE_PROTOCOLS else run.dataset
        if name in run.confusions and of_videos.startswith("emoji_clips"):
            merged = run.confusions[name].accuracy(_REVERSALS)
            found.append(((dataset, f"{column}, {MERGED}"), [merged]))
    return found


def _splits(table: ResultTable) -> dict[str, list[str]]:
    """Tested data sets of which there are several splits, "name:val1", …, but not the whole."""
    if table.protocol not in SOURCE_PROTOCOLS:
        return {}
    names = {name for row in table.rows for name, _ in row.measured}
    found: dict[str, list[str]] = defaultdict(list)
    for name in sorted(names):
        whole, part = split_domain(name)
        if re.fullmatch(r"val\d", part or "") and whole not in names:
            found[whole].append(name)
    return {whole: parts for whole, parts in found.items() if len(parts) > 1}


def _add_means_over_splits(table: ResultTable, row: Row) -> None:
    for whole, parts in table.splits.items():
        for column in {column for name, column in row.measured if name == parts[0]}:
            seeds = [row.measured.get((part, column), {}) for part in parts]
            if common := set.intersection(*map(set, seeds)):
                row.measured[whole, column] = {
                    seed: [statistics.fmean(one[seed][-1] for one in seeds)]
                    for seed in sorted(common)
                }


def _add_shots(there: dict[tuple[str, int], tuple[int, int]], run: Run) -> None:
    key = run.dataset, run.shots
    both = [run.shots_there, there.get(key, run.shots_there)]
    there[key] = min(least for least, _ in both), max(most for _, most in both)


def _key(run: Run, name: str) -> Key:
    if run.protocol in SOURCE_PROTOCOLS:
        return name, "accuracy"
    if run.protocol == SUPERVISED:
        return run.dataset, "accuracy"
    return run.dataset, str(run.shots) if run.protocol == "few_shot" else name


def _row_order(row: Row) -> tuple:
    names = (*published.METHODS, *published_actions.METHODS)
    unknown = len(published.METHODS) - 1.5
    method = names.index(row.method) if row.method in names else unknown
    value = published.number(row.variant)
    if value is None and row.variant in published.COMPONENTS:
        value = list(published.COMPONENTS).index(row.variant)
    return method, row.method, value is None, value or 0, row.variant, row.settings


def _cells(table: ResultTable, row: Row) -> dict[Key, Cell]:
    cells, images = {}, _images(row)
    for key, seeds in row.measured.items():
        by_seed = {seed: steps[-1] for seed, steps in seeds.items()}
        mean, number = statistics.fmean(by_seed.values()), images.get(key)
        interval = wilson(mean, number) if number else None
        cells[key] = Cell(mean, by_seed, len(by_seed), interval=interval)
    for whole, names in table.splits.items():
        for name, column in [key for key in cells if key[0] == whole]:
            spread = statistics.stdev(cells[part, column].mean for part in names)
            cells[name, column] = replace(cells[name, column], spread=spread)
    endings = ["", *(f", {measure}" for measure in table.further)]
    for column in [f"{column}{ending}" for column in table.columns for ending in endings]:
        parts = [cells[name, column] for name in table.averaged if (name, column) in cells]
        if len(parts) == len(table.averaged) > 1:
            cells[AVERAGE, column] = _mean(parts)
    for ending in [one for one in endings if ECE not in one]:
        for name in [name for name, column in cells if column == f"base{ending}"]:
            if new := cells.get((name, f"new{ending}")):
                cells[name, f"h{ending}"] = h = _harmonic(cells[name, f"base{ending}"], new)
                numbers = [images.get((name, half)) for half in ("base", "new")]
                if not ending and (base_number := numbers[0]) and (new_number := numbers[1]):
                    base = cells[name, "base"].mean
                    interval = harmonic(base, base_number, new.mean, new_number)
                    cells[name, "h"] = replace(h, interval=interval)
    return {
        key: replace(cell, published=comparable.beside(table, row, key))
        for key, cell in cells.items()
    }


def _images(row: Row) -> dict[Key, int]:
    """How many test images each accuracy is of, where all runs of the row agree."""
    found: dict[Key, set[int]] = defaultdict(set)
    for run in row.runs:
        for name in run.accuracy:
            found[_key(run, name)].add(run.data.get(f"images of {name}", 0))
    return {key: next(iter(numbers)) for key, numbers in found.items() if len(numbers) == 1}


def _mean(parts: Sequence[Cell]) -> Cell:
    """Over data sets, of each all seeds; one seed after another only where all have the same."""
    first = set(parts[0].by_seed)
    same = first if all(set(part.by_seed) == first for part in parts) else set()
    by_seed = {s: statistics.fmean(part.by_seed[s] for part in parts) for s in sorted(same)}
    mean = statistics.fmean(part.mean for part in parts)
    numbers = [part.seeds for part in parts]
    return Cell(mean, by_seed, min(numbers), most_seeds=max(numbers))


def _harmonic(base: Cell, new: Cell) -> Cell:
    by_seed = {seed: harmonic_mean(base.by_seed[seed], new.by_seed[seed]) for seed in base.by_seed}
    mean = harmonic_mean(base.mean, new.mean)
    return Cell(mean, by_seed, base.seeds, most_seeds=base.most_seeds)

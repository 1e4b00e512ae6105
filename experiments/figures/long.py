"""The results of runs as one long table: a line per run, data set and metric; and its means."""

import math
import pathlib
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from experiments.record import peers
from experiments.record.runs import EVALUATION, Run
from prompt_jax.errors import escape

ROW = ["method", "variant", "settings"]
CELL = [*ROW, "dataset", "metric"]
RowKey = tuple[str, str, str]

FIELDS = (
    "protocol", "ablation", "backbone", "backbone_hash", "source", "shots", "shots_least",
    "shots_most", "method", "variant", "settings", "sees_at_test", "dataset", "metric", "mean",
    "std", "n_seeds", "n_seeds_most", "low", "high", "published", "difference", "published_source",
)  # fmt: skip


def newest(found: Sequence[Run]) -> tuple[list[tuple[RowKey, Run]], list[tuple[Run, Run]]]:
    """Keeps the newest run of each row, data set, number of shots and seed.

    Returns:
        the runs that count, each with the row that it belongs to; and pairs of a run that does not
        count and the newer one.
    """
    counted: dict[tuple, tuple[RowKey, Run]] = {}
    replaced = []
    labelled = zip(found, peers.label_differences(found), strict=True)
    for run, settings in sorted(labelled, key=lambda pair: (pair[0].changed, pair[0].path)):
        row = run.method, run.variant, settings
        # An evaluation has one test set; other runs have all test sets of their protocol.
        tested = tuple(run.accuracy) if run.protocol == EVALUATION else ()
        key = (row, run.dataset, run.shots, run.seed, tested)
        if key in counted:
            replaced.append((counted[key][1], run))
        counted[key] = row, run
    return [*counted.values()], replaced


def table(lines: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Returns lines as a table with `CELL`, seed, value, low, high, images and steps.

    Args:
        lines: of each figure, "value" in percent or a rank, what `CELL` names, "seed", and where
            they are known "low" and "high" of its interval, "images" that it is over, and "steps",
            the accuracy after each iteration.
    """
    columns = [*CELL, "seed", "value", "low", "high", "images", "steps"]
    # Objects: names need not be valid Unicode, and seeds need not fit 64 bits.
    found = pd.DataFrame([*lines], columns=columns, dtype=object)
    return found.astype(dict.fromkeys(["value", "low", "high", "images"], float))


def means(lines: pd.DataFrame) -> pd.DataFrame:
    """Averages lines over seeds.

    Returns:
        a line per `CELL`: mean, std (NaN for one seed), seeds, most_seeds, low and high (means of
        the ends; NaN if a seed has none), and images (NaN where seeds differ).
    """
    cells = lines.groupby(CELL, sort=False).agg(
        mean=("value", statistics.fmean),
        std=("value", deviation),
        seeds=("value", "size"),
        most_seeds=("value", "size"),
        low=("low", statistics.fmean),
        high=("high", statistics.fmean),
        images=("images", _common),
    )
    return cells.reset_index()


def deviation(values: Iterable[float]) -> float:
    """Returns the sample standard deviation (n - 1); NaN of a single value."""
    found = [*values]
    return statistics.stdev(found) if len(found) > 1 else math.nan


def _common(values: pd.Series) -> float:
    return values.iloc[0] if values.nunique(dropna=False) == 1 else math.nan


def write_csv(
    path: pathlib.Path,
    records: pd.DataFrame | Sequence[Mapping[str, object]],
    fields: Sequence[str] = FIELDS,
) -> None:
    """Writes a line per record, whatever its texts hold; numbers with four decimals."""
    found = pd.DataFrame(records, columns=[*fields], dtype=object)
    found.map(_in_file).to_csv(path, index=False, encoding="utf-8", lineterminator="\r\n")


def _in_file(value: object) -> object:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.4f}"
    return escape(value) if isinstance(value, str) else value

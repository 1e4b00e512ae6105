"""Reads the figures of finished runs by method, data set and metric."""

import pathlib
from collections.abc import Mapping

from experiments.figures import averages, retrieval
from experiments.figures.result_table import Cell, Key
from experiments.figures.retrieval import TEST
from experiments.record import runs

RowName = tuple[str, str]
"""A method and its variant."""


def cells(folder: pathlib.Path, protocol: str, ablation: str) -> dict[RowName, dict[Key, Cell]]:
    """Returns the figures of the finished runs of a protocol and ablation, with intervals.

    Of rows with different settings under one name, the last one counts.
    """
    if not any(folder.rglob("results.json")):
        return {}
    found, _ = runs.read(folder)
    found = [run for run in found if (run.protocol, run.ablation) == (protocol, ablation)]
    done, _ = averages.average(found, intervals=True)
    made: dict[RowName, dict[Key, Cell]] = {}
    for table in done:
        for row in table.rows:
            made.setdefault((row.method, row.variant), {}).update(row.cells)
    for ranked in retrieval.average(found, intervals=True):
        for row in ranked.rows:
            named = {
                (ranked.dataset if test == TEST else test, metric): cell
                for (test, metric), cell in row.cells.items()
            }
            made.setdefault((row.method, row.variant), {}).update(named)
    return made


def tested(folder: pathlib.Path, method: str, protocol: str) -> dict[str, runs.Tested]:
    """Returns the tested part of each data set, as the finished runs of a method record it."""
    found, _ = runs.read(folder)
    those = [run for run in found if (run.method, run.protocol) == (method, protocol)]
    return {name: part for run in those for name, part in run.tested.items()}


def seeds(folder: pathlib.Path, protocol: str, ablation: str) -> Mapping[RowName, set[int]]:
    """Returns the seeds of the finished runs of each row."""
    found: dict[RowName, set[int]] = {}
    for run in runs.read(folder)[0]:
        if (run.protocol, run.ablation) == (protocol, ablation):
            found.setdefault((run.method, run.variant), set()).add(run.seed)
    return found

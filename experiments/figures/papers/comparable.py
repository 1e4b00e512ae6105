"""Which published figure stands beside a measured one, and why one does not."""

from collections.abc import Mapping, Sequence
from typing import Any

from data_pipelines.datasets import split_domain
from experiments.figures.papers import published, published_actions
from experiments.figures.papers.published import Published
from experiments.figures.result_table import AVERAGE, TOP5, Key, ResultTable, Row
from experiments.record.runs import EVALUATION, SOURCE_PROTOCOLS, SUPERVISED, TRANSFER, Run

SPLITS = 3  # that a published mean over splits is over


def departures(table: ResultTable, counted: Sequence[Run]) -> list[str]:
    """How tested data differ from those of published figures, a data set after another."""
    if table.protocol == EVALUATION:  # beside which none stand
        return []
    found = {
        published.departure(name, *run.tested[name])
        for name in table.datasets
        for run in counted
        if name in run.tested
    }
    names = table.datasets
    return sorted(found - {""}, key=lambda text: (names.index(text.split(": ")[0]), text))


def beside(table: ResultTable, row: Row, key: Key) -> Published | None:
    """The published figure of a cell; None where there is none that is comparable."""
    if table.protocol == EVALUATION:
        return None
    if _is_of_actions(table, key[0]):
        return None if _departure(table, row, key) else _of_actions(table, row, key)
    dataset, column = key
    as_there = set(table.averaged) == set(published.AVERAGED.get(table.protocol, ()))
    if table.shots != published.SHOTS or (dataset == AVERAGE and not as_there):
        return None
    # Papers have their source in these tables, so another source's targets are another figure.
    if table.protocol in SOURCE_PROTOCOLS and table.data != "imagenet":
        return None
    return published.find(table.protocol, table.ablation, row.method, row.variant, dataset, column)


def unlike(table: ResultTable) -> list[str]:
    """Of rows whose settings are not those of the published figures: what differs, in words."""
    if table.protocol == EVALUATION:
        return []
    found = {
        f"{row.label}: {different}"
        for row in table.rows
        for key in row.cells
        if _is_of_actions(table, key[0]) and _of_actions(table, row, key)
        if (different := _departure(table, row, key))
    }
    return sorted(found)


def _is_of_actions(table: ResultTable, dataset: str) -> bool:
    name = split_domain(dataset)[0]
    return table.protocol in (SUPERVISED, TRANSFER) or name in published_actions.DATASETS


def _of_actions(table: ResultTable, row: Row, key: Key) -> Published | None:
    dataset, column = key
    column, _, measure = column.partition(", ")
    if table.backbone not in published.BACKBONE_NAMES or table.ablation or row.variant:
        return None
    if measure not in ("", TOP5):
        return None
    if table.protocol == TRANSFER and len(table.splits.get(dataset, ())) != SPLITS:
        return None
    if table.protocol == "base_to_novel" and table.shots != published.SHOTS:
        return None
    source = table.data if table.protocol == TRANSFER else dataset
    return published_actions.find(
        table.protocol, source, row.method, dataset, column, top5=bool(measure)
    )


def _departure(table: ResultTable, row: Row, key: Key) -> str:
    return published_actions.departure(table.protocol, row.method, _config(table, row, key))


def _config(table: ResultTable, row: Row, key: Key) -> Mapping[str, Any]:
    """Of the runs behind a cell, which agree in what figures depend on."""
    dataset, column = key
    shots = column.partition(", ")[0] if table.protocol == "few_shot" else None
    for run in row.runs:
        tested = run.accuracy if table.protocol in SOURCE_PROTOCOLS else [run.dataset]
        names = {*tested, *(split_domain(name)[0] for name in tested)}
        if dataset in names and shots in (None, str(run.shots)):
            return run.config
    return {}

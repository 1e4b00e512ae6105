"""Finds the published figures that measured ones can be compared with."""

from collections.abc import Mapping, Sequence
from typing import Any

from data_pipelines.datasets import split_domain
from experiments.figures.papers import published, published_actions
from experiments.figures.papers.published import Published
from experiments.figures.result_table import AVERAGE, TOP5, Key, ResultTable, Row
from experiments.record.runs import EVALUATION, SOURCE_PROTOCOLS, SUPERVISED, TRANSFER, Run

SPLITS = 3  # in a published mean over splits


def data_differences(table: ResultTable, counted: Sequence[Run]) -> list[str]:
    """Returns differences of the test data from those of published figures, per data set."""
    if table.protocol == EVALUATION:  # has no published figures
        return []
    found = {
        published.data_difference(name, *run.tested[name])
        for name in table.datasets
        for run in counted
        if name in run.tested
    }
    names = table.datasets
    return sorted(found - {""}, key=lambda text: (names.index(text.split(": ")[0]), text))


def find_published(table: ResultTable, row: Row, key: Key) -> Published | None:
    """Returns the published figure of a cell; None if there is no comparable one."""
    if table.protocol == EVALUATION:
        return None
    if _is_of_actions(table, key[0]):
        return None if _settings_difference(table, row, key) else _of_actions(table, row, key)
    dataset, column = key
    same_average = set(table.averaged) == set(published.AVERAGED.get(table.protocol, ()))
    if table.shots != published.SHOTS or (dataset == AVERAGE and not same_average):
        return None
    # The papers' source is ImageNet; figures of other sources are not comparable.
    if table.protocol in SOURCE_PROTOCOLS and table.data != "imagenet":
        return None
    return published.find(table.protocol, table.ablation, row.method, row.variant, dataset, column)


def settings_differences(table: ResultTable) -> list[str]:
    """Returns a line for each row whose settings differ from those of the published figures."""
    if table.protocol == EVALUATION:
        return []
    found = {
        f"{row.label}: {different}"
        for row in table.rows
        for key in row.cells
        if _is_of_actions(table, key[0]) and _of_actions(table, row, key)
        if (different := _settings_difference(table, row, key))
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


def _settings_difference(table: ResultTable, row: Row, key: Key) -> str:
    return published_actions.settings_difference(
        table.protocol, row.method, _config(table, row, key)
    )


def _config(table: ResultTable, row: Row, key: Key) -> Mapping[str, Any]:
    """Returns the config of the runs of a cell, which agree in all fields that matter."""
    dataset, column = key
    shots = column.partition(", ")[0] if table.protocol == "few_shot" else None
    for run in row.runs:
        tested = run.accuracy if table.protocol in SOURCE_PROTOCOLS else [run.dataset]
        names = {*tested, *(split_domain(name)[0] for name in tested)}
        if dataset in names and shots in (None, str(run.shots)):
            return run.config
    return {}

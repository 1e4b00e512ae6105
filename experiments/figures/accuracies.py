"""A table of accuracies as lines to read and as records to compute with."""

import csv
import pathlib
from collections.abc import Iterator, Sequence

from experiments.figures import tables
from experiments.figures.result_table import Cell, Key, ResultTable, Row
from experiments.record.runs import SOURCE_PROTOCOLS
from prompt_jax.errors import escape

FIELDS = (
    "protocol", "ablation", "backbone", "backbone_hash", "source", "shots", "shots_least",
    "shots_most", "method", "variant", "settings", "dataset", "metric", "mean", "std", "n_seeds",
    "n_seeds_most", "low", "high", "published", "difference", "published_source",
)  # fmt: skip


def lines(table: ResultTable, columns: dict[str, Key]) -> list[list[str]]:
    """Each row's figures, and below them the published ones and the differences."""
    found: list[list[str]] = []
    for row in table.rows:
        cells = [row.cells.get(key) for key in columns.values()]
        if not any(cells):
            continue
        found.append([row.label, _seeds(cells), *(_text(cell, table.intervals) for cell in cells)])
        if any(cell and cell.published for cell in cells):
            printed = [f"{c.published.value:.2f}" if c and c.published else "" for c in cells]
            differences = [c.difference if c else None for c in cells]
            found.append(["– published", "", *printed])
            found.append(
                ["– difference", ""]
                + ["" if value is None else f"{value:+.2f}" for value in differences]
            )
    return found


def _seeds(cells: Sequence[Cell | None]) -> str:
    numbers = sorted({n for cell in cells if cell for n in (cell.seeds, cell.most_seeds) if n})
    return " to ".join(str(number) for number in dict.fromkeys((numbers[0], numbers[-1])))


def _text(cell: Cell | None, intervals: bool) -> str:
    if cell is None:
        return ""
    deviation = cell.deviation
    text = f"{cell.mean:.2f}" + ("" if deviation is None else f" ± {deviation:.2f}")
    return text + tables.in_brackets(cell.interval if intervals else None)


def write_csv(
    path: pathlib.Path, records: Sequence[dict[str, object]], fields: Sequence[str] = FIELDS
) -> None:
    """Writes records, a line each whatever their texts hold, below a line of the fields' names."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fields)
        writer.writeheader()
        for record in records:
            texts = {key: escape(one) for key, one in record.items() if isinstance(one, str)}
            writer.writerow(record | texts)


def records(table: ResultTable) -> Iterator[dict[str, object]]:
    """The table to compute with, a record per cell."""
    for row in table.rows:
        for key, cell in row.cells.items():
            yield _record(table, row, key, cell)


def _record(table: ResultTable, row: Row, key: Key, cell: Cell) -> dict[str, object]:
    dataset, column = key
    asked, metric = table.shots, column
    if table.protocol == "few_shot":
        shots, _, measure = column.partition(", ")
        asked, metric = int(shots), measure or "accuracy"
    trained = table.data if table.protocol in SOURCE_PROTOCOLS else dataset
    least, most = ("", "") if asked is None else table.shots_of(asked, trained)

    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.4f}"

    return {
        "protocol": table.protocol,
        "ablation": table.ablation,
        "backbone": table.backbone,
        "backbone_hash": table.backbone_hash,
        "source": table.data if table.protocol in SOURCE_PROTOCOLS else "",
        "shots": "" if asked is None else asked,
        "shots_least": least,
        "shots_most": most,
        "method": row.method,
        "variant": row.variant,
        "settings": row.settings,
        "dataset": dataset,
        "metric": metric,
        "mean": number(cell.mean),
        "std": number(cell.deviation),
        "n_seeds": cell.seeds,
        "n_seeds_most": cell.most_seeds or cell.seeds,
        "low": number(cell.interval[0] if cell.interval else None),
        "high": number(cell.interval[1] if cell.interval else None),
        "published": number(cell.published.value if cell.published else None),
        "difference": number(cell.difference),
        "published_source": cell.published.source if cell.published else "",
    }

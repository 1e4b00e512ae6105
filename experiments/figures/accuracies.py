"""A table of accuracy as lines to read and as records of a CSV file."""

from collections.abc import Iterator, Sequence

from experiments.figures.result_table import Cell, Key, ResultTable
from experiments.record.runs import SOURCE_PROTOCOLS


def lines(table: ResultTable, columns: dict[str, Key]) -> list[list[str]]:
    """Returns each row's figures, and below them the published ones and the differences."""
    found: list[list[str]] = []
    for row in table.rows:
        cells = [row.cells.get(key) for key in columns.values()]
        if any(cells):
            texts = [cell.text(table.intervals) if cell else "" for cell in cells]
            found.append([row.label, _seeds(cells), *texts])
            found += ([name, "", *texts] for name, *texts in published_lines(cells, ".2f"))
    return found


def published_lines(cells: Sequence[Cell | None], form: str) -> list[list[str]]:
    """Returns published figures in the format `form`, and differences; none where none are known.

    Each line begins with its name.
    """
    known = [cell if cell and cell.published else None for cell in cells]
    if not any(known):
        return []
    printed = [f"{cell.published.value:{form}}" if cell else "" for cell in known]
    differences = [f"{cell.difference:+.2f}" if cell else "" for cell in known]
    return [["– published", *printed], ["– difference", *differences]]


def _seeds(cells: Sequence[Cell | None]) -> str:
    numbers = [number for cell in cells if cell for number in (cell.seeds, cell.most_seeds)]
    return " to ".join(map(str, dict.fromkeys((min(numbers), max(numbers)))))


def records(table: ResultTable) -> Iterator[dict[str, object]]:
    """Yields a record per cell, see `long.FIELDS`."""
    from_source = table.protocol in SOURCE_PROTOCOLS
    for row in table.rows:
        for dataset, column in row.cells:
            asked, metric = table.shots, column
            if table.protocol == "few_shot":
                shots, _, measure = column.partition(", ")
                asked, metric = int(shots), measure or "accuracy"
            trained = table.data if from_source else dataset
            least, most = ("", "") if asked is None else table.shots_of(asked, trained)
            yield {
                "protocol": table.protocol,
                "ablation": table.ablation,
                "backbone": table.backbone,
                "backbone_hash": table.backbone_hash,
                "source": table.data if from_source else "",
                "shots": "" if asked is None else asked,
                "shots_least": least,
                "shots_most": most,
                **row.record((dataset, column)),
                "metric": metric,
            }

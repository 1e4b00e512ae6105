"""Writes a table of measured figures, published figures and differences."""

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

from experiments.figures import tables
from experiments.figures.papers import latex
from experiments.figures.result_table import Cell, Key
from experiments.reproduce import measuring
from experiments.reproduce.published_tables import PublishedTable, columns
from prompt_jax.errors import PromptError

HEADERS = ("method", "data set", "metric", "measured", "published", "difference", "seeds")
MEASURED = (
    "measured: mean ± sample standard deviation over seeds; in brackets the 95 % interval over "
    "test images, which does not contain the spread over seeds. difference: measured minus "
    "published."
)
DEVIATION = "Not comparable with the published figures: {}."
_METRICS = {"h": "H", "2": "2 shots", "4": "4 shots", "8": "8 shots", "16": "16 shots"}


class Line(NamedTuple):
    """A published figure and the measured one.

    Attributes:
        label: the method, with its variant.
        key: data set and metric.
        cell: the measured figure; None if no run is finished.
        published: the figure, and its source.
        seeds: of the finished runs.
    """

    label: str
    key: Key
    cell: Cell | None
    published: float
    source: str
    seeds: Sequence[int]

    @property
    def texts(self) -> list[str]:
        """Returns the cells of a table, see `HEADERS`."""
        name, metric = self.key
        shown = self.cell.text(intervals=True) if self.cell else "not measured"
        difference = f"{self.cell.mean - self.published:+.2f}" if self.cell else ""
        seeds = ", ".join(map(str, self.seeds))
        metric = _METRICS.get(metric, metric)
        return [self.label, name, metric, shown, f"{self.published:.2f}", difference, seeds]


def lines(table: PublishedTable, folder: pathlib.Path) -> list[Line]:
    """Returns a line per published figure of a table; the first source of a figure counts."""
    cells = measuring.cells(folder, table.protocol, table.ablation)
    seeds = measuring.seeds(folder, table.protocol, table.ablation)
    found: dict[tuple[measuring.RowName, Key], Line] = {}
    for method, row in table.rows:
        name = method, row.variant
        label = tables.row_label(method, row.variant, "")
        trains = tables.trains(method, table.kind)
        of = sorted(seeds.get(name, ())) if trains else []
        for key, value in columns(row).items():
            cell = cells.get(name, {}).get(key)
            line = Line(label, key, cell, value, row.source, of if cell else [])
            found.setdefault((name, key), line)
    return list(found.values())


def write(
    table: PublishedTable, folder: pathlib.Path, out: pathlib.Path, facts: Sequence[str]
) -> list[pathlib.Path]:
    """Writes `reproduced.md` and `reproduced.tex` to `out`.

    Args:
        table: the published table.
        folder: of its runs.
        out: the directory to write to.
        facts: sentences on weights, data and deviations.

    Raises:
        PromptError: `out` cannot be written to.
    """
    found = lines(table, folder)
    sources = "; ".join(dict.fromkeys(line.source for line in found))
    title = f"{table.title}, reproduced"
    protocol = f"Protocol: {latex.PROTOCOLS[table.protocol]}."
    remarks = [protocol, f"Published figures: {sources}; backbone {table.backbone}.", *facts]
    markdown = tables.heading(title, 1)
    markdown += "".join(map(tables.paragraph, [*remarks, MEASURED]))
    markdown += tables.markdown(HEADERS, [line.texts for line in found])
    blocks: dict[str, list[list[str]]] = {}
    for line in found:
        label, *texts = line.texts
        blocks.setdefault(latex.escape(label), []).append([latex.escape(one) for one in texts])
    caption = " ".join(latex.escape(one) for one in [f"{title}.", *remarks, MEASURED])
    tex = latex.HEAD + "\n" + latex.table(caption, title, HEADERS[1:], blocks)
    paths = [out / "reproduced.md", out / "reproduced.tex"]
    try:
        out.mkdir(parents=True, exist_ok=True)
        for path, text in zip(paths, (markdown, tex), strict=True):
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise PromptError(f"{out} cannot be written to: {error.strerror}") from error
    return paths


def show(table: PublishedTable, folder: pathlib.Path) -> None:
    """Prints the table."""
    rows = [line.texts for line in lines(table, folder)]
    tables.show(tables.table(f"{table.title}, reproduced", HEADERS, rows))

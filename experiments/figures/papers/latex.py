"""Writes tables of results for papers, in LaTeX with the packages booktabs and graphicx."""

import re
from collections.abc import Mapping, Sequence

from experiments.figures import tables
from experiments.figures.result_table import Cell, Key, ResultTable, Row
from experiments.figures.retrieval import COLUMNS, TEST, RetrievalTable
from experiments.record.runs import SOURCE_PROTOCOLS, Run
from prompt_jax.errors import escape as one_line

HEAD = "% Needs \\usepackage{booktabs,graphicx}.\n"
NOTHING = "--"
PROTOCOLS = {
    "base_to_novel": "trained on the base classes of a data set, tested on its base and its new "
    "classes; H is the harmonic mean of the two averages",
    "few_shot": "trained on a few images per class of a data set, tested on all of its classes",
    "cross_dataset": "trained on all classes of one data set, tested on others without training",
    "domain_generalization": "trained on one data set, tested on its shifted variants",
    "supervised": "trained on all training videos",
    "zero_shot_transfer": "trained on all of one data set, tested on others without training",
    "unlabeled": "trained on all images without their labels",
    "evaluation": "models that were trained before, tested on other data",
    "retrieval": "trained on all pairs of video and caption; each text ranks all test videos and "
    "each video all texts",
}
"""What is trained and tested, a clause for captions."""

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "–": "--",
    "−": "$-$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    '"': "''",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}
# graphicx: scales what is wider than the text down to its width.
_FIT = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
_BEST = (
    "Bold: the best figure of a column, and those within its interval (95\\,\\% over test inputs; "
    "where there is none, its $\\pm$ over seeds)."
)


def escape(text: str) -> str:
    """Returns a text that LaTeX prints as it is, on one line."""
    return "".join(_SPECIAL.get(sign, sign) for sign in one_line(text).strip())


def table(
    caption: str, label: str, headers: Sequence[str], blocks: Mapping[str, Sequence[Sequence[str]]]
) -> str:
    r"""Returns a `table` environment with a tabular; texts are LaTeX already.

    Args:
        caption: a sentence or more.
        label: of \ref; characters that it must not have become "-".
        headers: of the columns; the first is aligned left, all others right.
        blocks: title to lines; titles stand in lines of their own, "" has none.
    """
    columns = "l" + "r" * (len(headers) - 1)
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", _line(headers)]
    for title, rows in blocks.items():
        lines.append(r"\midrule")
        if title:
            lines.append(rf"\multicolumn{{{len(headers)}}}{{l}}{{\emph{{{title}}}}} \\")
        lines += map(_line, rows)
    place = re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{caption}}}",
            rf"\label{{tab:{place}}}",
            _FIT,
            *lines,
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table}",
            "",
        ]
    )


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def figure(cell: Cell | None, bold: bool = False, intervals: bool = False) -> str:
    """Returns a cell: mean, ± deviation and, if asked for, the interval; "--" for None."""
    if cell is None:
        return NOTHING
    mean = rf"\mathbf{{{cell.mean:.2f}}}" if bold else f"{cell.mean:.2f}"
    spread = "" if cell.deviation is None else rf" \pm {cell.deviation:.2f}"
    ends = escape(tables.in_brackets(cell.interval)) if intervals else ""
    return f"${mean}{spread}$" + (f" {ends}" if ends else "")


def is_best(cells: Sequence[Cell | None], smallest: bool = False) -> list[bool]:
    """Returns whether each cell of a column is the best one or within its interval.

    Args:
        cells: of one column; None where there is no figure.
        smallest: whether a small figure is good, as of ranks.
    """
    there = [cell for cell in cells if cell]
    if len(there) < 2:
        return [False] * len(cells)
    best = (min if smallest else max)(there, key=lambda cell: cell.mean)
    spread = best.deviation or 0.0
    low, high = best.interval or (best.mean - spread, best.mean + spread)
    return [cell is not None and low <= cell.mean <= high for cell in cells]


def block(
    rows: Sequence[Row], keys: Sequence[Key], intervals: bool = False, form: str = ".2f"
) -> list[list[str]]:
    """Returns a line per row that has one of the figures, and below it the published ones.

    Args:
        rows: of the table.
        keys: the columns.
        intervals: whether intervals are shown.
        form: the format of published figures.
    """
    rows = [row for row in rows if any(key in row.cells for key in keys)]
    columns = [[row.cells.get(key) for row in rows] for key in keys]
    best = [
        is_best(column, "MnR" in name or "MdR" in name)
        for column, (_, name) in zip(columns, keys, strict=True)
    ]
    lines = []
    for place, row in enumerate(rows):
        cells = [column[place] for column in columns]
        marks = [column[place] for column in best]
        shown = [figure(*pair, intervals) for pair in zip(cells, marks, strict=True)]
        lines.append([escape(row.label), *shown])
        if any(cell and cell.published for cell in cells):
            printed = [
                f"{cell.published.value:{form}}" if cell and cell.published else NOTHING
                for cell in cells
            ]
            lines.append([r"\quad published", *printed])
    return lines


def of_accuracy(table_: ResultTable, heading: str, notes: Sequence[str] = ()) -> str:
    """Returns a table of accuracy: a block per data set, the average first.

    Args:
        table_: the table.
        heading: its title.
        notes: sentences to add to the caption, as text.
    """
    sections = [(name, columns) for name, columns in table_.sections() if table_.filled(columns)]
    every = list(dict.fromkeys(header for _, columns in sections for header in columns))
    blocks = {}
    for name, columns in sections:
        keys = [columns.get(header, (name, "")) for header in every]
        blocks[escape(name)] = block(table_.rows, keys, table_.intervals)
    text = caption(table_.protocol, heading, "Accuracy in \\%", table_.rows, notes)
    if table_.protocol not in SOURCE_PROTOCOLS and len(table_.averaged) > 1:
        text += f" Averages are over {escape(', '.join(table_.averaged))}."
    return table(text, heading, ["method", *map(escape, every)], blocks)


def of_retrieval(table_: RetrievalTable, notes: Sequence[str] = ()) -> str:
    """Returns a table of retrieval: a block per test set; see `of_accuracy`."""
    blocks = {}
    for test in table_.tests:
        name = table_.dataset if test == TEST else test
        keys = [(test, column) for column in COLUMNS]
        blocks[escape(name)] = block(table_.rows, keys, table_.intervals, "g")
    figures = "R@K in \\%, mean and median rank (MnR, MdR)"
    text = caption(table_.protocol, table_.heading, figures, table_.rows, notes)
    return table(text, table_.heading, ["method", *map(escape, COLUMNS)], blocks)


def caption(
    protocol: str, heading: str, figures: str, rows: Sequence[Row], notes: Sequence[str] = ()
) -> str:
    """Returns the caption of a table: what is shown, the protocol, and the seeds.

    Args:
        protocol: of the runs.
        heading: the table's title, as text.
        figures: what the cells are, in LaTeX.
        rows: the rows of the table.
        notes: further sentences, as text.
    """
    return " ".join(
        [
            f"{figures}: {escape(heading)}.",
            f"Protocol: {escape(PROTOCOLS[protocol])}.",
            seeds([run for row in rows for run in row.runs]),
            *([_BEST] if len(rows) > 1 else []),
            *_sources(rows),
            *map(escape, notes),
        ]
    )


def _sources(rows: Sequence[Row]) -> list[str]:
    found = {
        cell.published.source: None for row in rows for cell in row.cells.values() if cell.published
    }
    return [f"Published figures: {escape('; '.join(found))}."] if found else []


def seeds(runs: Sequence[Run]) -> str:
    """Returns a sentence on the seeds that figures are means over, in LaTeX."""
    # Of what trains nothing, one run stands for all seeds.
    trained = [run for run in runs if tables.trains(run.method, run.kind)]
    every = sorted({run.seed for run in trained})
    if not every:
        drawn = sorted({run.seed for run in runs})
        if len(drawn) == 1:
            return "Nothing is trained, so there are no seeds."
        return f"Nothing is trained; the seeds {', '.join(map(str, drawn))} draw held-out images."
    each: dict[tuple[str, str, str, int], set[int]] = {}
    for run in trained:
        key = run.method, run.variant, run.dataset, run.shots
        each.setdefault(key, set()).add(run.seed)
    if len(every) == 1:
        return f"One run each, with seed {every[0]}."
    some = "" if all(found == {*every} for found in each.values()) else "; some figures over fewer"
    listed = ", ".join(map(str, every))
    return f"Mean $\\pm$ sample standard deviation over the seeds {listed}{some}."

"""Writes tables and plots of many runs, with published figures.

    python -m experiments.results DIR [--out DIR/tables] [--calibration] [--intervals] [--latex]

Reads every results.json below DIR. For each protocol it writes a Markdown table, a CSV file with a
row per method, variant, data set and metric, and plots as PNG and SVG; for runs with confusion
matrices also a CSV file of the accuracy per class and a plot of the worst classes. --latex also
writes tables for papers.
"""

import sys

from experiments.cli import command_line

if __name__ == "__main__":  # before the slow imports below, so that Ctrl-C works during them
    sys.exit(command_line.run("experiments.results", "start", sys.argv[1:]))

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from experiments.figures import (
    averages,
    classes,
    drawing,
    long,
    plots,
    result_table,
    retrieval,
    tables,
    wording,
)
from experiments.figures.papers import latex
from experiments.figures.result_table import AVERAGE, ECE, Key, ResultTable
from experiments.figures.retrieval import RetrievalTable
from experiments.figures.wording import ON_STAND_IN
from experiments.record import runs
from experiments.record.runs import RETRIEVAL, SOURCE_PROTOCOLS, STAND_IN
from prompt_jax.errors import PromptError, escape

_MOST_COLUMNS = 6  # that fit a terminal


class Summary(NamedTuple):
    """The tables of the runs below a directory.

    Attributes:
        tables: of accuracy.
        retrieval_tables: the same for retrieval.
        remarks: a line for each invalid file and each run that is ignored.
    """

    tables: Sequence[ResultTable]
    retrieval_tables: Sequence[RetrievalTable]
    remarks: Sequence[str]


def summarize(folder: pathlib.Path, calibration: bool = False, intervals: bool = False) -> Summary:
    """Reads the runs below a directory and averages those that belong together.

    Args:
        folder: contains the run directories.
        calibration: show the calibration error beside each accuracy.
        intervals: show 95 % intervals over test images.

    Raises:
        PromptError: there is no such directory, or no run in it.
    """
    return summarize_runs(*runs.read(folder), calibration, intervals)


def summarize_runs(
    found: Sequence[runs.Run],
    problems: Sequence[str],
    calibration: bool = False,
    intervals: bool = False,
) -> Summary:
    """Averages runs that belong together; see `summarize`."""
    done, duplicates = averages.average(found, calibration, intervals)
    return Summary(done, retrieval.average(found, intervals), [*problems, *duplicates])


def write(folder: pathlib.Path, out: pathlib.Path | None = None) -> list[pathlib.Path]:
    """Writes the tables and plots of all runs below a directory.

    Args:
        folder: contains the run directories.
        out: where to write; `folder`/tables if None.

    Returns:
        the files: Markdown and CSV of each protocol, then the plots.

    Raises:
        PromptError: no such directory, no run in it, or `out` cannot be written to.
    """
    return write_tables(summarize(folder), out or folder / "tables")


def write_tables(
    summary: Summary, out: pathlib.Path, with_latex: bool = False
) -> list[pathlib.Path]:
    """Writes the tables of `summarize` and their plots; `with_latex` also writes them in LaTeX.

    LaTeX files that exist already are always updated.

    Raises:
        PromptError: `out` cannot be written to.
    """
    done, retrieval_tables, remarks = summary
    notes = "".join(f"- {tables.in_markdown(remark)}\n" for remark in remarks)
    left_out = f"\n## Left out\n\n{notes}" if notes else ""
    try:
        out.mkdir(parents=True, exist_ok=True)
        paths: list[pathlib.Path] = []
        for protocol in dict.fromkeys(table.protocol for table in done):
            those = [table for table in done if table.protocol == protocol]
            text = f"# Results: {protocol}\n\nAccuracy in %.\n\n" + "\n".join(map(_markdown, those))
            paths += [out / f"{protocol}.md", out / f"{protocol}.csv"]
            paths[-2].write_text(text + left_out, encoding="utf-8")
            records = [record for table in those for record in result_table.records(table)]
            long.write_csv(paths[-1], records)
            of_classes = [record for table in those for record in classes.records(table)]
            if of_classes:
                paths.append(out / f"{protocol}-classes.csv")
                long.write_csv(paths[-1], of_classes, classes.FIELDS)
        for table in done:
            title = wording.heading(table)
            paths += _attempt(drawing.draw, table, out, title)
            paths += _attempt(drawing.draw_confusions, table, out, title)
        if retrieval_tables:
            paths += _write_retrieval(retrieval_tables, left_out, out)
        paths += _write_latex(summary, out, with_latex)
    except OSError as error:
        raise PromptError(f"--out={out} cannot be written to: {error.strerror}") from error
    return paths


def _write_retrieval(
    retrieval_tables: Sequence[RetrievalTable], left_out: str, out: pathlib.Path
) -> list[pathlib.Path]:
    paths = [out / f"{RETRIEVAL}.md", out / f"{RETRIEVAL}.csv"]
    sections = [
        retrieval.markdown(table, [ON_STAND_IN] if _is_stand_in(table) else [])
        for table in retrieval_tables
    ]
    text = f"# Results: {RETRIEVAL}\n\n{retrieval.LEGEND}\n\n" + "\n".join(sections)
    paths[0].write_text(text + left_out, encoding="utf-8")
    records = [record for table in retrieval_tables for record in retrieval.records(table)]
    long.write_csv(paths[1], records)
    for table in retrieval_tables:
        place = out / f"{drawing.file_name(table.title)}.png"
        paths += _attempt(plots.plot_bars, place, retrieval.bars(table), table.heading, "R@1 (%)")
    return paths


def _write_latex(summary: Summary, out: pathlib.Path, every: bool) -> list[pathlib.Path]:
    """Writes a LaTeX file per protocol, or, unless `every`, those that exist already."""
    texts: dict[pathlib.Path, list[str]] = {}

    def place(protocol: str) -> pathlib.Path | None:
        path = out / f"{protocol}.tex"
        return path if every or path.exists() else None

    for table in summary.tables:
        if path := place(table.protocol):
            notes = [ON_STAND_IN] if _is_of_stand_in(table) else []
            notes += wording.cautions(table)
            made = latex.of_accuracy(table, wording.heading(table), notes)
            texts.setdefault(path, []).append(made)
    for retrieved in summary.retrieval_tables:
        if path := place(RETRIEVAL):
            notes = [ON_STAND_IN] if _is_stand_in(retrieved) else []
            texts.setdefault(path, []).append(latex.of_retrieval(retrieved, notes))
    for path, made_of in texts.items():
        path.write_text(latex.HEAD + "\n" + "\n".join(made_of), encoding="utf-8")
    return list(texts)


def _is_of_stand_in(table: ResultTable) -> bool:
    return ON_STAND_IN in wording.remarks_on(table)


def _attempt(draw: Callable[..., list[pathlib.Path]], *args: Any) -> list[pathlib.Path]:
    """Draws a plot; an error leaves out this plot only, as its figures are in the tables."""
    try:
        return draw(*args)
    except OSError:  # the directory is not writable
        raise
    except Exception as error:  # matplotlib raises errors of any class
        reason = escape(f"{type(error).__name__}: {error}".splitlines()[0])
        print(f"note: a plot was skipped ({reason}); its figures are in the tables")
        return []


def _is_stand_in(table: RetrievalTable) -> bool:
    return table.backbone == "embedded" or table.dataset.startswith("emoji")


def _markdown(table: ResultTable) -> str:
    text = tables.heading(wording.title(table), 2)
    text += "".join(map(tables.paragraph, wording.remarks_on(table)))
    for name, columns in table.sections():
        columns = table.with_further(table.filled(columns))
        lines = result_table.lines(table, columns)
        if lines:
            text += tables.heading(name, 3) if name else ""
            text += tables.markdown(result_table.headers(columns), lines) + "\n"
    return text


def show(table: ResultTable) -> None:
    """Prints a table's average, or its only data set, and cautions.

    Without an average of all rows, each data set is printed. If the targets do not all fit, only
    the source and the average are.
    """
    averages: list[tuple[str, dict[str, Key]]] = []
    others: list[tuple[str, dict[str, Key]]] = []
    for name, columns in table.sections():
        targets = table.protocol in SOURCE_PROTOCOLS and AVERAGE in columns
        if targets and len(columns) > _MOST_COLUMNS:
            wanted = (table.data, *table.splits, AVERAGE)
            columns = {header: key for header, key in columns.items() if key[0] in wanted}
        columns = table.filled(columns)
        if columns:
            (averages if name == AVERAGE else others).append((name, columns))
    # An average has no interval.
    enough = averages and not table.intervals and _has_all_rows(table, averages[0][1])
    whole = averages if enough else [*averages, *others]
    for name, columns in whole:
        further = table.with_further(columns)
        errors = {header: key for header, key in further.items() if key[1].endswith(ECE)}
        rest = {header: key for header, key in further.items() if header not in errors}
        fits = len(rest) <= _MOST_COLUMNS and not table.intervals
        for group in filter(None, (rest if fits else columns, errors)):
            _print_lines(table, name, group)
    if any(name == AVERAGE for _, columns in whole for name, _ in columns.values()):
        averaged = escape(", ".join(table.averaged))
        print(f"the average is over {averaged}; the files contain each of them")
    for caution in wording.cautions(table):
        print(f"note: {escape(caution)}")


def _has_all_rows(table: ResultTable, columns: Mapping[str, Key]) -> bool:
    return all(any(key in row.cells for key in columns.values()) for row in table.rows)


def _print_lines(table: ResultTable, name: str, columns: dict[str, Key]) -> None:
    which = f"{name}: " if name and name != table.data else ""
    lines = result_table.lines(table, columns)
    headers = result_table.headers(columns)
    if table.intervals:  # which leave no room
        lines, headers = [line[:-1] for line in lines], headers[:-1]
    tables.show(tables.table(f"{which}{wording.title(table)}", headers, lines))
    if table.intervals:
        print(f"{tables.SEES}: {escape(wording.seen(table))}")


def show_retrieval(table: RetrievalTable) -> None:
    """Prints a table of retrieval: trained parameters, training time, R@1."""
    tables.show(tables.table(f"{table.title} (R@1 in %)", *retrieval.overview(table)))


def start(argv: Sequence[str]) -> None:
    """Parses the arguments and reports."""
    parser = command_line.make_parser("experiments.results", __doc__)
    parser.add_argument("folder", metavar="DIR", type=pathlib.Path, help="with run directories")
    parser.add_argument("--out", type=pathlib.Path, help="where to write; default DIR/tables")
    parser.add_argument("--calibration", action="store_true", help="with calibration errors (ECE)")
    parser.add_argument("--intervals", action="store_true", help="with 95 %% intervals of accuracy")
    parser.add_argument("--latex", action="store_true", help="also as LaTeX, for papers")
    options = parser.parse_args(argv)
    report(options.folder, options.out, options.calibration, options.intervals, options.latex)


def report(
    folder: pathlib.Path,
    out: pathlib.Path | None = None,
    calibration: bool = False,
    intervals: bool = False,
    with_latex: bool = False,
) -> None:
    """Reads the runs below a directory, writes tables and plots, prints the main part of each.

    Args:
        folder: contains the run directories.
        out: where to write; `folder`/tables if None.
        calibration, intervals: see `summarize`.
        with_latex: see `write_tables`.

    Raises:
        PromptError: see `write`.
    """
    out = out or folder / "tables"
    summary = summarize(folder, calibration, intervals)
    paths = write_tables(summary, out, with_latex)
    show_all(summary)
    names = ", ".join(path.name for path in paths if path.suffix == ".md")
    print(f"wrote {len(paths)} files to {out}; start with {names}")


def show_all(summary: Summary) -> None:
    """Prints the main part of each table, and remarks."""
    done, retrieval_tables, remarks = summary
    for table in done:
        show(table)
    for retrieval_table in retrieval_tables:
        show_retrieval(retrieval_table)
    stand_in = any(map(_is_of_stand_in, done))
    stand_in |= any(map(_is_stand_in, retrieval_tables))
    for remark in [*([STAND_IN] if stand_in else []), *remarks]:
        print(f"note: {escape(remark)}")

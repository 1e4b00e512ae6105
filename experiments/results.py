"""The results of many runs as tables and plots, with the published figures beside them.

    python -m experiments.results DIR [--out DIR/tables] [--calibration] [--intervals]

Reads every results.json below DIR. Per protocol it writes one Markdown table to read, one CSV table
to compute with (a row per method, variant, data set and metric), and plots as PNG and SVG; of runs
that counted which classes they took for which, the accuracy of each class as CSV and a picture of
the worst ones.
"""

import sys

from experiments import command_line

if __name__ == "__main__":  # before the imports below, so that Ctrl-C is heard while they run
    sys.exit(command_line.run("experiments.results", "start", sys.argv[1:], "stopped"))

import argparse
import pathlib
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from rich.table import Table

from experiments.figures import (
    accuracies,
    averages,
    classes,
    drawing,
    plots,
    published,
    retrieval,
    tables,
)
from experiments.figures.result_table import AVERAGE, ECE, MERGED, Key, ResultTable
from experiments.figures.retrieval import RetrievalTable
from experiments.record import runs
from experiments.record.runs import RETRIEVAL, SOURCE_PROTOCOLS
from experiments.run.experiment import STAND_IN
from prompt_jax.errors import PromptError

_MOST_COLUMNS = 6  # that a terminal has room for
_STAND_IN = STAND_IN[0].upper() + STAND_IN[1:] + "."


class Summary(NamedTuple):
    """What the runs below a folder come to.

    Attributes:
        tables: of accuracies.
        searches: of retrieval.
        remarks: a line for each file that is no run's and each run that did not count.
    """

    tables: Sequence[ResultTable]
    searches: Sequence[RetrievalTable]
    remarks: Sequence[str]


def summarize(folder: pathlib.Path, calibration: bool = False, intervals: bool = False) -> Summary:
    """Reads the runs below a folder and averages those that belong together.

    Args:
        folder: where the runs' folders are.
        calibration: show the calibration error beside each accuracy.
        intervals: show 95 % intervals over test pictures.

    Raises:
        PromptError: there is no such folder, or no run in it.
    """
    return summarize_runs(*runs.read(folder), calibration, intervals)


def summarize_runs(
    found: Sequence[runs.Run],
    problems: Sequence[str],
    calibration: bool = False,
    intervals: bool = False,
) -> Summary:
    """Averages those of these runs that belong together; see `summarize`."""
    done, duplicates = averages.average(found, calibration, intervals)
    return Summary(done, retrieval.average(found, intervals), [*problems, *duplicates])


def write(folder: pathlib.Path, out: pathlib.Path | None = None) -> list[pathlib.Path]:
    """Writes the tables and plots of all runs below a folder.

    Args:
        folder: where the runs' folders are.
        out: where to write; `folder`/tables if None.

    Returns:
        the files: Markdown and CSV of each protocol, then the plots.

    Raises:
        PromptError: no such folder, no run in it, or `out` cannot be written to.
    """
    return write_tables(summarize(folder), out or folder / "tables")


def write_tables(summary: Summary, out: pathlib.Path) -> list[pathlib.Path]:
    """Writes tables and plots that `summarize` made.

    Raises:
        PromptError: `out` cannot be written to.
    """
    done, searches, remarks = summary
    notes = "".join(f"- {remark}\n" for remark in remarks)
    left_out = f"\n## Left out\n\n{notes}" if notes else ""
    try:
        out.mkdir(parents=True, exist_ok=True)
        paths: list[pathlib.Path] = []
        for protocol in dict.fromkeys(table.protocol for table in done):
            those = [table for table in done if table.protocol == protocol]
            text = f"# Results: {protocol}\n\nAccuracy in %.\n\n" + "\n".join(map(_markdown, those))
            paths += [out / f"{protocol}.md", out / f"{protocol}.csv"]
            paths[-2].write_text(text + left_out, encoding="utf-8")
            records = [record for table in those for record in accuracies.records(table)]
            accuracies.write_csv(paths[-1], records)
            of_classes = [record for table in those for record in classes.records(table)]
            if of_classes:
                paths.append(out / f"{protocol}-classes.csv")
                accuracies.write_csv(paths[-1], of_classes, classes.FIELDS)
        for table in done:
            paths += drawing.draw(table, out, heading(table))
            paths += drawing.draw_confusions(table, out, heading(table))
        if searches:
            paths += _write_searches(searches, left_out, out)
    except OSError as error:
        raise PromptError(f"--out={out} cannot be written to: {error.strerror}") from error
    return paths


def _write_searches(
    searches: Sequence[RetrievalTable], left_out: str, out: pathlib.Path
) -> list[pathlib.Path]:
    paths = [out / f"{RETRIEVAL}.md", out / f"{RETRIEVAL}.csv"]
    sections = [
        retrieval.markdown(table, [_STAND_IN] if _is_stand_in(table) else []) for table in searches
    ]
    text = f"# Results: {RETRIEVAL}\n\n{retrieval.LEGEND}\n\n" + "\n".join(sections)
    paths[0].write_text(text + left_out, encoding="utf-8")
    records = [record for table in searches for record in retrieval.records(table)]
    accuracies.write_csv(paths[1], records)
    for table in searches:
        name = re.sub(r"[^\w.]+", "-", table.title)
        paths += plots.plot_bars(
            out / f"{name}.png", retrieval.bars(table), table.heading, "R@1 (%)"
        )
    return paths


def _is_stand_in(table: RetrievalTable) -> bool:
    return table.backbone == "embedded" or table.dataset.startswith("emoji")


def title(table: ResultTable) -> str:
    """What was measured, on what, with how many shots; the backbone with its hash."""
    return f"{heading(table)} ({table.backbone_hash[:8]})"


def heading(table: ResultTable) -> str:
    """The same without the hash, as a figure in a paper has it."""
    parts = [f"{table.protocol}{', ablation: ' * bool(table.ablation)}{table.ablation}"]
    if table.protocol in SOURCE_PROTOCOLS:
        by = f" by {table.trained_by}" if table.trained_by else ""
        parts.append(f"trained on {table.data}{by}")
    elif table.data:
        parts.append(table.data)
    if table.shots is not None:
        _, most = table.shots_of(table.shots)
        parts.append(tables.count_shots(table.shots, most, most))
    return ", ".join([*parts, f"backbone {table.backbone}"])


def remarks_on(table: ResultTable) -> list[str]:
    """What a reader must know before comparing a table with a paper."""
    lines = []
    if table.backbone == "embedded" or any(name.startswith("emoji") for name in table.datasets):
        lines.append(_STAND_IN)
    cells = [cell for row in table.rows for cell in row.cells.values()]
    if any(cell.by_seed and cell.deviation is not None for cell in cells):
        lines.append("±: the sample standard deviation over seeds.")
    if table.intervals and any(cell.interval for cell in cells):
        lines.append(
            "In brackets: the 95 % interval of the mean over test pictures (Wilson's; of H by "
            "bootstrap); the seeds' own spread is not in it."
        )
    if ECE in table.further:
        lines.append(
            "ECE: expected calibration error of the predicted class in %, 15 bins; 0 is as sure as "
            "right."
        )
    lines += cautions(table)
    if _has_published(table):
        if table.backbone in published.BACKBONE_NAMES:
            shots = f", {published.SHOTS} shots" if table.shots else ""
            lines.append(f"Published figures: {published.BACKBONE}{shots}.")
        lines.append("Differences are measured minus published, in percentage points.")
    for features, names in table.features.items():
        lines.append(f"Training pictures of {', '.join(names)} are {features}.")
    for (method, name), values in table.chosen.items():
        counts = ", ".join(f"{one:g} ({n})" for one, n in sorted(Counter(values).items()))
        lines.append(
            f"{name} of {method} was chosen without test pictures, value (runs): {counts}."
        )
    if len(table.averaged) > 1:
        lines.append(
            f"Averages are over {', '.join(table.averaged)}; rows that lack one have none."
        )
    for name, parts in table.splits.items():
        lines.append(f"{name}: the mean over {len(parts)} splits, ± its deviation over them.")
    if MERGED in table.further:
        lines.append(
            "Reversals merged: an action counts as right, too, where its reversal was answered, "
            "which time alone tells from it."
        )
    if "h" in table.columns:
        lines.append("H is the harmonic mean of the base and new accuracies after averaging.")
    return lines


def cautions(table: ResultTable) -> list[str]:
    """What keeps a table's figures from being comparable with published ones, in sentences."""
    lines = []
    if _has_published(table) and table.backbone not in published.BACKBONE_NAMES:
        lines.append(
            f"Published figures: {published.BACKBONE}, {published.SHOTS} shots; "
            f"measured: backbone {table.backbone}."
        )
    for (name, asked), (least, most) in table.shots_there.items():
        if least < asked:
            there = tables.count_shots(asked, least, most)
            lines.append(f"{name}: trained on {there}; its classes have no more.")
    if table.departures:
        listed = "; ".join(table.departures)
        lines.append(f"Not comparable with published figures: {listed}.")
    if table.unlike:
        listed = "; ".join(table.unlike)
        lines.append(f"Other settings than published, so not beside published figures: {listed}.")
    return lines


def _has_published(table: ResultTable) -> bool:
    return any(cell.published for row in table.rows for cell in row.cells.values())


def _markdown(table: ResultTable) -> str:
    text = f"## {title(table)}\n\n" + "".join(f"{line}\n\n" for line in remarks_on(table))
    for name, columns in table.sections():
        columns = table.with_further(columns)
        lines = accuracies.lines(table, columns)
        if lines:
            text += f"### {name}\n\n" if name else ""
            text += tables.markdown(["method", "seeds", *columns], lines) + "\n"
    return text


def show(table: ResultTable) -> None:
    """Prints a table's first part: the average, or the only data set, and what to be wary of.

    Of targets that do not all fit, only the source and the average are printed.
    """
    for _, columns in table.sections():
        targets = table.protocol in SOURCE_PROTOCOLS and AVERAGE in columns
        if targets and len(columns) > _MOST_COLUMNS:
            wanted = (table.data, *table.splits, AVERAGE)
            columns = {header: key for header, key in columns.items() if key[0] in wanted}
        further = table.with_further(columns)
        errors = {header: key for header, key in further.items() if key[1].endswith(ECE)}
        others = {header: key for header, key in further.items() if header not in errors}
        groups = [others if len(others) <= _MOST_COLUMNS else columns, errors]
        if accuracies.lines(table, columns):
            for group in filter(None, groups):
                _print_lines(table, group)
            for caution in cautions(table):
                print(f"note: {caution}")
            return


def _print_lines(table: ResultTable, columns: dict[str, Key]) -> None:
    printed = Table(title=title(table))
    for header in ("method", "seeds", *columns):
        printed.add_column(header, overflow="fold")  # a name cut short says nothing
    for line in accuracies.lines(table, columns):
        printed.add_row(*line)
    tables.show(printed)


def show_search(table: RetrievalTable) -> None:
    """Prints a table of retrieval: what trains, how long it took, R@1."""
    headers, lines = retrieval.overview(table)
    printed = Table(title=f"{table.title} (R@1 in %)")
    for header in headers:
        printed.add_column(header, overflow="fold")
    for line in lines:
        printed.add_row(*line)
    tables.show(printed)


def start(argv: Sequence[str]) -> None:
    """Parses, reads, writes, prints."""
    parser = argparse.ArgumentParser("python -m experiments.results", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("folder", metavar="DIR", type=pathlib.Path, help="holds the runs' folders")
    parser.add_argument("--out", type=pathlib.Path, help="where to write; default DIR/tables")
    parser.add_argument("--calibration", action="store_true", help="with calibration errors (ECE)")
    parser.add_argument("--intervals", action="store_true", help="with 95 %% intervals of accuracy")
    options = parser.parse_args(argv)
    report(options.folder, options.out, options.calibration, options.intervals)


def report(
    folder: pathlib.Path,
    out: pathlib.Path | None = None,
    calibration: bool = False,
    intervals: bool = False,
) -> None:
    """Reads the runs below a folder, writes tables and plots, prints the main part of each.

    Args:
        folder: where the runs' folders are.
        out: where to write; `folder`/tables if None.
        calibration, intervals: see `summarize`.

    Raises:
        PromptError: see `write`.
    """
    out = out or folder / "tables"
    summary = summarize(folder, calibration, intervals)
    paths = write_tables(summary, out)
    show_all(summary)
    names = ", ".join(path.name for path in paths if path.suffix == ".md")
    print(f"{len(paths)} files are in {out}; to read: {names}")


def show_all(summary: Summary) -> None:
    """Prints the main part of each table, and what to know of them."""
    done, searches, remarks = summary
    for table in done:
        show(table)
    for searched in searches:
        show_search(searched)
    stand_in = any(_STAND_IN in remarks_on(table) for table in done)
    stand_in |= any(map(_is_stand_in, searches))
    for remark in [*([STAND_IN] if stand_in else []), *remarks]:
        print(f"note: {remark}")

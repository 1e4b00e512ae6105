"""Tables that a person reads."""

import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from experiments.record.runs import WAYS
from prompt_jax.errors import escape
from prompt_jax.evaluation.reliability import Interval
from prompt_jax.methods.selection import in_words


def print_run(results: Mapping[str, Any]) -> None:
    """One run: what it reached, what zero-shot CLIP does, and what to know of both."""
    if "ranks" in results:
        _print_ranks(results)
    else:
        _print_accuracies(results)
    if results["skipped_pictures"]:
        number = len(results["skipped_pictures"])
        kind = "video" if "ranks" in results else "image"
        print(f"left out {number} unreadable {kind}{'s' * (number > 1)}, see results.json")
    if "note" in results:
        print(f"note: {results['note']}")


def _print_accuracies(results: Mapping[str, Any]) -> None:
    """Accuracies of the method, of zero-shot CLIP and after each iteration; H if any."""
    title = (
        f"{results['method']} on {results['dataset']}, {shots_of(results)}, "
        f"seed {results['seed']}, backbone {results['backbone']} (accuracy in %)"
    )
    keys = list(results["accuracy"])
    with_h = "h" in results

    def cells(scores):
        return [f"{scores[key]:.2f}" for key in [*keys, "h"][: len(keys) + with_h]]

    headers = [*keys, "H"][: len(keys) + with_h]
    rows = []
    if results["method"] != "zero_shot":
        rows.append(["zero-shot CLIP", *cells(results["zero_shot"])])
    per_iteration = [results["per_iteration"][key] for key in keys]
    if len(per_iteration[0]) > 1:
        for number, accuracies in enumerate(zip(*per_iteration, strict=True)):
            rows.append([f"after iteration {number}", *(f"{one:.2f}" for one in accuracies)])
    chosen = results.get("chosen")
    label = results["method"] + (f" ({in_words(chosen['values'])})" if chosen else "")
    rows.append([label, *cells(results if with_h else results["accuracy"])])
    show(table(title, ["", *headers], rows, min(len(title), 100)))
    _print_reliability(results)


def _print_reliability(results: Mapping[str, Any]) -> None:
    """The intervals over images, and how sure the answers are beside how right."""
    if not results.get("interval"):  # an earlier version's
        return
    ends = [f"{key} {low:.1f} to {high:.1f}" for key, (low, high) in results["interval"].items()]
    print(f"95 % intervals over test images, in %: {', '.join(ends)}")
    errors, sure = results["calibration_error"], results["confidence"]
    told = [
        f"{key} {error:.1f} (mean confidence {sure[key]:.1f}, right {results['accuracy'][key]:.1f})"
        for key, error in errors.items()
    ]
    print(f"calibration error (ECE), in %: {', '.join(told)}")


def _print_ranks(results: Mapping[str, Any]) -> None:
    """Ranks in both directions, of the method and of zero-shot CLIP, on every test set."""
    title = (
        f"{results['method']} on {results['dataset']}, seed {results['seed']}, backbone "
        f"{results['backbone']} (R@K in %, mean and median rank)"
    )
    metrics, lines = compare_ranks(results, results["method"])
    words = {"t2v": "captions search videos", "v2t": "the reverse"}
    rows = []
    for key, way, name, figures in lines:
        where = words[way] if len(results["ranks"]) == 1 else f"{key}: {words[way]}"
        rows.append([where, name, *figures])
    show(table(title, ["", "", *metrics], rows, min(len(title), 100)))


def compare_ranks(
    results: Mapping[str, Any], label: str
) -> tuple[list[str], list[tuple[str, str, str, list[str]]]]:
    """A run of retrieval beside zero-shot CLIP.

    Args:
        results: its results.json.
        label: what the run is called.

    Returns:
        the metrics, and for each test set, direction and whose they are, the figures.
    """
    compared = {"zero-shot CLIP": results["zero_shot_ranks"], label: results["ranks"]}
    if results["method"] == "zero_shot":
        del compared["zero-shot CLIP"]
    every = [found for ways in results["ranks"].values() for found in ways.values()]
    metrics = list(dict.fromkeys(metric for found in every for metric in found))
    lines = []
    for key in results["ranks"]:
        for way in WAYS:
            for name, ranks in compared.items():
                found = ranks[key][way]
                figures = [f"{found[one]:.2f}" if one in found else "" for one in metrics]
                lines.append((key, way, name, figures))
    return metrics, lines


def shots_of(results: Mapping[str, Any]) -> str:
    """How many shots a run trained on, in words."""
    asked = results["shots"]
    there = results.get("shots_per_class") or (asked, asked)
    return count_shots(asked, *there) if asked else "all that train"


def in_brackets(interval: Interval | None) -> str:
    """An interval as it stands behind a figure; "" for none."""
    return "" if interval is None else f" [{interval[0]:.1f}, {interval[1]:.1f}]"


def count_shots(asked: int, least: int, most: int) -> str:
    """ "16 shots"; where classes had fewer, how many they had: "9 to 16 shots (500 asked for)"."""
    there = str(most) if least == most else f"{least} to {most}"
    shots = f"{there} shot{'s' * (there != '1')}"
    return shots if least >= asked else f"{shots} ({asked} asked for)"


def row_label(method: str, variant: str, settings: str) -> str:
    """How a row is called in tables and plots: what sets it apart stands in brackets."""
    named = " ".join(part for part in (method, variant) if part)
    return f"{named} ({settings})" if settings else named


def mean_and_deviation(values: Sequence[float], mean: float | None = None) -> str:
    """ "mean ± standard deviation", the latter over the sample (n - 1), as published tables do.

    H is none of a seed's own, but of mean accuracies: its `mean` is given.
    """
    shown = f"{statistics.fmean(values) if mean is None else mean:.2f}"
    return f"{shown} ± {statistics.stdev(values):.2f}" if len(values) > 1 else shown


def table(
    title: str, headers: Sequence[str], rows: Iterable[Sequence[str]], min_width: int | None = None
) -> Table:
    """Returns a table to `show`; its texts stand in it as they are, each on a line."""
    made = Table(title=escape(title), min_width=min_width)
    for header in headers:
        made.add_column(escape(header), overflow="fold")  # a name cut short says nothing
    for row in rows:
        made.add_row(*map(escape, row))
    return made


def show(table: Table) -> None:
    """Prints a table on standard output, wide enough when it is no terminal.

    No bracket in it is markup, no ":cat:" an emoji.
    """
    console = Console(markup=False, emoji=False)
    if not console.is_terminal:
        console = Console(width=120, markup=False, emoji=False)
    console.print(table)


def in_markdown(text: str) -> str:
    """Returns text as one line of Markdown that shows it as it is: no markup, HTML, link, formula.

    For a cell of a table; a line that begins with it is `paragraph`'s.
    """
    return _MARKUP.sub(r"\\\g<0>", escape(text).strip())


# What GitHub's Markdown reads as markup inside a line. "_" within a word is none, and brackets are
# some where a target may follow; addresses become links by "://", "www." and "@".
_MARKUP = re.compile(
    r"[\\`*~<>$|&]|(?<![^\W_])_|_(?![^\W_])|\](?=[(\[:])"
    r"|:(?=//)|(?<=www)\.|@(?=[\w-]+\.)|(?<!\w)@(?=\w)",
    re.IGNORECASE,
)
# … and at its start: a heading, a list, a line below a heading.
_START = re.compile(r"^(\d*)(#+(?=\s|$)|[-+](?=\s|$)|[.)](?=\s|$)|[-=])")


def paragraph(text: str) -> str:
    """Returns text as a paragraph of Markdown that shows it as it is, with an empty line below."""
    return _START.sub(r"\1\\\2", in_markdown(text)) + "\n\n"


def heading(text: str, level: int) -> str:
    """Returns text as a heading of Markdown that shows it as it is, with an empty line below."""
    return f"{'#' * level} {in_markdown(text).replace('#', chr(92) + '#')}\n\n"


def markdown(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, aligned for reading as text too: the first column left, numbers right.

    Cells are text, whatever they hold.
    """
    cells = [list(map(in_markdown, row)) for row in (headers, *rows)]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    dashes = ["-" * width if not i else "-" * (width - 1) + ":" for i, width in enumerate(widths)]

    def line(row: Sequence[str]) -> str:
        first, *others = row
        padded = [text.rjust(width) for text, width in zip(others, widths[1:], strict=True)]
        return "| " + " | ".join([first.ljust(widths[0]), *padded]) + " |"

    return "\n".join([line(cells[0]), line(dashes), *map(line, cells[1:])]) + "\n"

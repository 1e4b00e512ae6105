"""Tables for the terminal and in Markdown."""

import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from experiments.record.runs import WAYS, backbone_title, unbalanced
from prompt_jax import methods
from prompt_jax.errors import escape
from prompt_jax.evaluation.reliability import Interval
from prompt_jax.methods.selection import in_words

SEES = "sees at test"
"""The header of what a method's prediction depends on, see `methods.record.SEES_AT_TEST`."""

ZERO_SHOT = "zero-shot CLIP"
DIRECTIONS = {"t2v": "text-to-video", "v2t": "video-to-text"}


def sees_at_test(method: str, kind: str) -> str:
    """Returns what a prediction depends on; "" for a method from outside.

    Args:
        method: a name.
        kind: of the data, "images" or "videos"; "" if it is not recorded.
    """
    record = methods.find_record(method, kind or "images") or methods.find_record(method, "videos")
    return record.at_test(kind) if record else ""


def print_run(results: Mapping[str, Any]) -> None:
    """Prints the results of a run beside those of zero-shot CLIP, and notes on them."""
    if "ranks" in results:
        _print_ranks(results)
    else:
        _print_accuracies(results)
    if results["skipped_pictures"]:
        number = len(results["skipped_pictures"])
        kind = "video" if "ranks" in results else "image"
        print(f"skipped {number} unreadable {kind}{'s' * (number > 1)}, see results.json")
    if "note" in results:
        print(f"note: {results['note']}")


def _print_accuracies(results: Mapping[str, Any]) -> None:
    """Prints the accuracy of the method, of zero-shot CLIP and after each iteration; H if any."""
    shots = f"{shots_of(results)}, " * trains(results["method"], results.get("kind", ""))
    title = (
        f"{results['method']} on {results['dataset']}, {shots}"
        f"seed {results['seed']}, backbone {backbone_title(results)} (accuracy in %)"
    )
    keys = list(results["accuracy"])
    with_h = "h" in results

    def cells(scores):
        return [f"{scores[key]:.2f}" for key in [*keys, "h"][: len(keys) + with_h]]

    headers = [*keys, "H"][: len(keys) + with_h]
    method, kind = results["method"], results.get("kind", "")
    rows = []
    if method != "zero_shot":
        sees = sees_at_test("zero_shot", kind)
        rows.append([ZERO_SHOT, *cells(results["zero_shot"]), sees])
    per_iteration = [results["per_iteration"][key] for key in keys]
    if len(per_iteration[0]) > 1:
        for number, accuracies in enumerate(zip(*per_iteration, strict=True)):
            figures = [f"{one:.2f}" for one in accuracies]
            rows.append([f"after iteration {number}", *figures, *[""] * (1 + with_h)])
    chosen = results.get("chosen")
    label = method + (f" ({in_words(chosen['values'])})" if chosen else "")
    figures = cells(results if with_h else results["accuracy"])
    rows.append([label, *figures, sees_at_test(method, kind)])
    show(table(title, ["", *headers, SEES], rows, min(len(title), 100)))
    _print_reliability(results)


def _print_reliability(results: Mapping[str, Any]) -> None:
    """Prints the intervals over test images, and the confidence beside the accuracy."""
    if not results.get("interval"):  # of an earlier version
        return
    ends = [f"{key} {low:.1f} to {high:.1f}" for key, (low, high) in results["interval"].items()]
    print(f"95 % intervals over test images, in %: {', '.join(ends)}")
    confidence, accuracy = results["confidence"], results["accuracy"]
    parts = [
        f"{key} {error:.1f} (mean confidence {confidence[key]:.1f}, accuracy {accuracy[key]:.1f})"
        for key, error in results["calibration_error"].items()
    ]
    print(f"calibration error (ECE), in %: {', '.join(parts)}")
    if macro := unbalanced(results, "macro_accuracy"):
        means = ", ".join(f"{key} {value:.1f}" for key, value in macro.items())
        print(f"mean over classes, which have different numbers of test images, in %: {means}")


def _print_ranks(results: Mapping[str, Any]) -> None:
    """Prints ranks in both directions, of the method and of zero-shot CLIP, per test set."""
    title = (
        f"{results['method']} on {results['dataset']}, seed {results['seed']}, backbone "
        f"{backbone_title(results)}"
    )
    legend = "; ".join(f"{way}: {words}" for way, words in DIRECTIONS.items())
    print(f"{escape(title)}\nR@K in %, mean and median rank; {legend}")
    metrics, lines = compare_ranks(results, results["method"])
    for key in results["ranks"]:
        rows = []
        for way, name, figures in (line[1:] for line in lines if line[0] == key):
            sees = sees_at_test("zero_shot" if name == ZERO_SHOT else name, "videos")
            rows.append([f"{name}, {way}", *figures, sees])
        used = [number for number, cells in enumerate(zip(*rows, strict=True)) if any(cells)]
        headers = ["", *metrics, SEES]
        show(table(key, [headers[n] for n in used], [[row[n] for n in used] for row in rows]))


def compare_ranks(
    results: Mapping[str, Any], label: str
) -> tuple[list[str], list[tuple[str, str, str, list[str]]]]:
    """Compares a run of retrieval with zero-shot CLIP.

    Args:
        results: the content of its results.json.
        label: the name of the run.

    Returns:
        the metrics, and lines of test set, direction, name and figures.
    """
    compared = {ZERO_SHOT: results["zero_shot_ranks"], label: results["ranks"]}
    if results["method"] == "zero_shot":
        del compared[ZERO_SHOT]
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


def trains(method: str, kind: str) -> bool:
    """Returns whether the method is trained; an unknown one from outside may be.

    Args:
        method: its name.
        kind: "images" or "videos"; "", of earlier runs, for images.
    """
    record = methods.find_record(method, kind or "images")
    return record is None or record.sees_in_training != "nothing"


def shots_of(results: Mapping[str, Any]) -> str:
    """Returns the number of shots that a run trained on, as text."""
    asked = results["shots"]
    there = results.get("shots_per_class") or (asked, asked)
    return count_shots(asked, *there) if asked else "all that train"


def in_brackets(interval: Interval | None) -> str:
    """Formats an interval after a figure; "" for None."""
    return "" if interval is None else f" [{interval[0]:.1f}, {interval[1]:.1f}]"


def count_shots(asked: int, least: int, most: int) -> str:
    """Returns "16 shots"; where classes had fewer, "9 to 16 shots (500 asked for)"."""
    there = str(most) if least == most else f"{least} to {most}"
    shots = f"{there} shot{'s' * (there != '1')}"
    return shots if least >= asked else f"{shots} ({asked} asked for)"


def row_label(method: str, variant: str, settings: str) -> str:
    """Returns the name of a row, with the settings that distinguish it in brackets."""
    named = " ".join(part for part in (method, variant) if part)
    return f"{named} ({settings})" if settings else named


def mean_and_deviation(values: Sequence[float], mean: float | None = None) -> str:
    """Returns "mean ± sample standard deviation (n - 1)", as published tables do.

    The mean of H is the H of mean accuracies, not a mean over seeds: give it as `mean`.
    """
    shown = f"{statistics.fmean(values) if mean is None else mean:.2f}"
    return f"{shown} ± {statistics.stdev(values):.2f}" if len(values) > 1 else shown


def table(
    title: str, headers: Sequence[str], rows: Iterable[Sequence[str]], min_width: int | None = None
) -> Table:
    """Returns a table for `show`; its texts are shown literally, each on one line."""
    made = Table(title=escape(title), min_width=min_width)
    for header in headers:
        made.add_column(escape(header), overflow="fold")  # do not truncate names
    for row in rows:
        made.add_row(*map(escape, row))
    return made


def show(table: Table) -> None:
    """Prints a table, 120 characters wide if standard output is not a terminal.

    Brackets are not read as markup, nor ":cat:" as an emoji.
    """
    console = Console(markup=False, emoji=False)
    if not console.is_terminal:
        console = Console(width=120, markup=False, emoji=False)
    console.print(table)


def in_markdown(text: str) -> str:
    """Escapes text for a cell of a Markdown table: no markup, HTML, link or formula.

    For text at the start of a line use `paragraph`.
    """
    return _MARKUP.sub(r"\\\g<0>", escape(text).strip())


# Markup inside a line in GitHub's Markdown. "_" within a word is not markup, and brackets are only
# where a target may follow; addresses become links by "://", "www." and "@".
_MARKUP = re.compile(
    r"[\\`*~<>$|&]|(?<![^\W_])_|_(?![^\W_])|\](?=[(\[:])"
    r"|:(?=//)|(?<=www)\.|@(?=[\w-]+\.)|(?<!\w)@(?=\w)",
    re.IGNORECASE,
)
# Markup at the start of a line: a heading, a list, a line below a heading.
_START = re.compile(r"^(\d*)(#+(?=\s|$)|[-+](?=\s|$)|[.)](?=\s|$)|[-=])")


def paragraph(text: str) -> str:
    """Escapes text as a paragraph of Markdown, with an empty line below."""
    return _START.sub(r"\1\\\2", in_markdown(text)) + "\n\n"


def heading(text: str, level: int) -> str:
    """Escapes text as a heading of Markdown, with an empty line below."""
    return f"{'#' * level} {in_markdown(text).replace('#', chr(92) + '#')}\n\n"


def markdown(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a Markdown table, aligned as text too: the first column left, numbers right.

    Cells are escaped.
    """
    cells = [list(map(in_markdown, row)) for row in (headers, *rows)]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    dashes = ["-" * width if not i else "-" * (width - 1) + ":" for i, width in enumerate(widths)]

    def line(row: Sequence[str]) -> str:
        first, *others = row
        padded = [text.rjust(width) for text, width in zip(others, widths[1:], strict=True)]
        return "| " + " | ".join([first.ljust(widths[0]), *padded]) + " |"

    return "\n".join([line(cells[0]), line(dashes), *map(line, cells[1:])]) + "\n"

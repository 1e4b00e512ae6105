"""Reports the findings of `check` as a table and a list."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import markup
from rich.console import Console
from rich.table import Table

from data_pipelines import datasets
from data_pipelines.checks import lists
from data_pipelines.errors import escape
from data_pipelines.examples import Dataset
from data_pipelines.layouts.layout import SPLITS


@dataclass(frozen=True)
class Finding:
    """The result of checking one data set.

    Attributes:
        name: its name in the table.
        found: whether any of its files exist.
        dataset: the data set, if it could be loaded.
        problems: one message each; () if it is complete and readable.
        notes: remarks that are not problems, e.g. on directories below a class.
    """

    name: str
    found: bool
    dataset: Dataset | None
    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()


def table(findings: Sequence[Finding], root: Path) -> Table:
    """Returns a table with one row per data set: counts, published counts and state."""
    title = f"Data sets in {_plain(str(root))}"
    result = Table(title=title, title_justify="left")
    result.add_column("data set", no_wrap=True)
    captions = [_captions(finding.dataset) for finding in findings]
    for heading in (*SPLITS, "classes", *["captions"] * any(captions)):
        result.add_column(heading, justify="right")
    result.add_column("state", no_wrap=True)
    for finding, number in zip(findings, captions, strict=True):
        described = [str(number or "")] * any(captions)
        result.add_row(_plain(finding.name), *_counts(finding), *described, _state(finding))
    result.caption = "found / published, or = if they are equal"
    return result


def _plain(name: str) -> str:
    """Escapes a user's text for rich markup and the terminal."""
    return markup.escape(escape(name))


def _counts(finding: Finding) -> list[str]:
    entry, dataset = datasets.entry(finding.name), finding.dataset
    whole = entry.counts if ":" not in finding.name else None
    published = (*whole, entry.num_classes) if whole else (None,) * 4
    if dataset is None:
        return ["" if count is None else f"– / {count}" for count in published]
    parts = [getattr(dataset, split) for split in SPLITS]
    classes = len(dataset.class_names) if dataset.has_classes else None
    return list(map(_beside, (*map(len, parts), classes), published))


def _captions(dataset: Dataset | None) -> int:
    parts = [] if dataset is None else lists.splits(dataset)
    return sum(len(example.captions) for part in parts for example in part.examples)


def _beside(count: int | None, published: int | None) -> str:
    if count is None or published is None:
        return "" if count is None else str(count)
    return f"{count} =" if count == published else f"{count} / {published}"


def _state(finding: Finding) -> str:
    if not finding.found:
        return "missing"
    if finding.problems:
        return f"[red]{len(finding.problems)} problem{'s' * (len(finding.problems) > 1)}[/red]"
    return "[green]complete[/green]"


def passed(findings: Sequence[Finding], named: bool) -> bool:
    """Returns whether all data sets found (`named`: all) are complete, and at least one is."""
    found = [finding for finding in findings if finding.found]
    if named and len(found) < len(findings):
        return False
    return bool(found) and not any(finding.problems for finding in found)


def report(findings: Sequence[Finding], root: Path, console: Console) -> None:
    """Prints the table, then every problem and note."""
    console.print(table(findings, root))
    for finding in findings:
        lines = [*finding.problems, *(f"note: {note}" for note in finding.notes)]
        if finding.found and lines:
            _print_lines(console, finding.name, lines)
    absent = [f"{f.name}: {f.problems[0]}" for f in findings if not f.found]
    if absent:
        _print_lines(console, "Missing", absent)


def _print_lines(console: Console, heading: str, lines: Sequence[str]) -> None:
    # Paths are neither wrapped nor parsed as markup.
    text = "\n  ".join([f"\n{escape(heading)}", *map(escape, lines)])
    console.print(text, markup=False, highlight=False, soft_wrap=True)

"""Tables that a person reads."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table


def print_run(results: Mapping[str, Any]) -> None:
    """One run: base, new and H of the method and of zero-shot CLIP, and each iteration's."""
    title = (
        f"{results['method']} on {results['dataset']}, {results['shots']} shots, seed "
        f"{results['seed']}, backbone {results['backbone']} (accuracy in %)"
    )
    table = Table("", "base", "new", "H", title=title)
    zero_shot = results["zero_shot"]
    table.add_row("zero-shot CLIP", *(f"{zero_shot[key]:.2f}" for key in ("base", "new", "h")))
    per_iteration = results["per_iteration"]
    if len(per_iteration["base"]) > 1:
        pairs = zip(per_iteration["base"], per_iteration["new"], strict=True)
        for number, (base, new) in enumerate(pairs):
            table.add_row(f"after iteration {number}", f"{base:.2f}", f"{new:.2f}", "")
    table.add_row(results["method"], *(f"{results[key]:.2f}" for key in ("base", "new", "h")))
    show(table)
    if results["skipped_pictures"]:
        number = len(results["skipped_pictures"])
        print(f"left out {number} unreadable picture{'s' * (number > 1)}, see results.json")
    if "note" in results:
        print(f"note: {results['note']}")


def mean_and_deviation(values: Sequence[float]) -> str:
    """ "mean ± standard deviation", the latter over the sample (n - 1), as published tables do."""
    mean = sum(values) / len(values)
    if len(values) == 1:
        return f"{mean:.2f}"
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return f"{mean:.2f} ± {variance**0.5:.2f}"


def show(table: Table) -> None:
    """Prints a table on standard output, wide enough when it is no terminal."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=110)
    console.print(table)

"""Fuzzes every file reader with damaged files, and kills runs at random times.

    python -m tests.soak                          # 100,000 inputs, then 30 kills and other faults
    python -m tests.soak --inputs 5000 --kills 0
    python -m tests.soak --kind png,tiff --inputs 20000 --kills 0
    python -m tests.soak --kind png --number 1234 # one input again, in detail

An input must be read, or rejected with a message: without a hang over 10 s, another exception, a
warning, access to other files, code that runs from it, or more than 2 GB of memory. A killed run
that is restarted until it is finished must give the results of an uninterrupted one. Everything is
determined by one seed, and each input by (seed, kind, number). Inputs that fail are kept in --out;
exit code 1 if there are any.
Linux only.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Compiling takes most of the time here. Child processes inherit it.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "true")
# Processes share the cores by inputs, not within one.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from . import faults, kinds, pool
from .attempt import attempt, empty, read_example
from .kind import examples_of, source_of
from .report import Report


def main(argv: Sequence[str]) -> int:
    """Parses the arguments and runs; returns the exit code."""
    parser = argparse.ArgumentParser("python -m tests.soak", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--inputs", type=int, default=100_000, help="of all kinds, by weight")
    parser.add_argument("--kills", type=int, default=30, help="0: no kills and no other faults")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", default="", help=f"several with commas: {', '.join(kinds.KINDS)}")
    parser.add_argument("--number", type=int, help="only this input of the kind")
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--out", type=Path, default=Path("results/soak"))
    options = parser.parse_args(argv)
    names = tuple(filter(None, options.kind.split(","))) or tuple(kinds.KINDS)
    unknown = [name for name in names if name not in kinds.KINDS]
    if unknown:
        parser.error(f"unknown kind {unknown[0]!r}; there are {', '.join(kinds.KINDS)}")
    out = options.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    if options.number is not None:
        if len(names) != 1:
            parser.error("--number needs one --kind")
        return again(names[0], options.seed, options.number, out)
    console = Console(width=None if sys.stdout.isatty() else 120)
    failures = 0
    if options.inputs:
        failures += soak(kinds.share(options.inputs, names), options, out, console)
    if options.kills:
        failures += faults.run(options.kills, options.seed, empty(out / "faults"), console)
    return 1 if failures else 0


def soak(counts: dict[str, int], options: argparse.Namespace, out: Path, console: Console) -> int:
    """Tests all inputs and shows the table; returns the number of failures."""
    report = Report(options.seed, out)
    for place in ("examples", "failures"):  # possibly of other code
        empty(out / place)
    columns = (
        *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()),
        *(TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn()),
        TextColumn("{task.fields[failures]} failed"),
    )
    began = time.perf_counter()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("inputs", total=sum(counts.values()), failures=0)

        def found(outcome):
            report.add(outcome)
            progress.update(task, advance=1, failures=report.failures)

        pool.run(counts, options.seed, out, options.processes, found)
    report.show(console)
    seconds = time.perf_counter() - began
    total = sum(counts.values())
    console.print(
        f"{total:,} inputs in {seconds:.0f} s, {total / seconds:.0f} a second; "
        f"{report.failures:,} failed" + (f", see {out / 'failures'}" if report.failures else "")
    )
    return report.failures


def again(name: str, seed: int, number: int, out: Path) -> int:
    """Tests one input in this process, and shows its files and the outcome."""
    kind = kinds.KINDS[name]
    given = examples_of(kind, empty(out / "examples"))
    for path, entry in kind.build(given, source_of(seed, name, number)).items():
        shown = f"{len(entry):,} bytes: {entry[:60]!r}" if isinstance(entry, bytes) else str(entry)
        print(f"{path!r}: {shown}")
    place = out / "again"
    read_example(kind, given[0], place)  # one-time effects of libraries do not count
    outcome = attempt(kind, given, seed, number, place)
    print(f"its files are in {place / 'input'}")
    print(f"{outcome.verdict} {outcome.cause}, {outcome.seconds:.2f} s, {outcome.peak:,} bytes")
    print(outcome.detail)
    return 1 if outcome.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

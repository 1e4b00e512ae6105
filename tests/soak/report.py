"""Counts outcomes, keeps the inputs that failed, and prints the table."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from . import files
from .attempt import ACCEPTED, REFUSED, Outcome
from .kind import examples_of, source_of
from .kinds import KINDS

_KEPT = 2  # kept inputs per cause

Cause = tuple[str, str, str]
"""Kind, sort of failure, cause."""


class Report:
    """The outcomes of all inputs so far."""

    def __init__(self, seed: int, folder: Path):
        """Keeps failing inputs in `folder`/failures/KIND-NUMBER."""
        self.seed, self.folder = seed, folder
        self.verdicts: dict[str, Counter[str]] = defaultdict(Counter)
        self.seconds: Counter[str] = Counter()
        self.slowest: dict[str, float] = defaultdict(float)
        self.peaks: dict[str, int] = defaultdict(int)
        self.causes: dict[Cause, list[Outcome]] = defaultdict(list)
        self.warned: dict[tuple[str, str], list[int]] = defaultdict(list)

    def add(self, outcome: Outcome) -> None:
        """Counts an outcome, and keeps its input if it failed."""
        kind = outcome.kind
        self.verdicts[kind][outcome.verdict] += 1
        self.seconds[kind] += outcome.seconds
        self.slowest[kind] = max(self.slowest[kind], outcome.seconds)
        self.peaks[kind] = max(self.peaks[kind], outcome.peak)
        if outcome.warned:
            self.warned[kind, outcome.warned].append(outcome.number)
        if outcome.failed:
            same = self.causes[kind, outcome.verdict, outcome.cause]
            same.append(outcome)
            if len(same) <= _KEPT:
                self._keep(outcome)

    def _keep(self, outcome: Outcome) -> None:
        kind = KINDS[outcome.kind]
        place = self.folder / "failures" / f"{outcome.kind}-{outcome.number}"
        (place / "input").mkdir(parents=True, exist_ok=True)
        source = source_of(self.seed, outcome.kind, outcome.number)
        examples = examples_of(kind, self.folder / "examples")
        files.write(kind.build(examples, source), place / "input")
        words = f"{outcome.verdict}: {outcome.cause}\n{outcome.detail}\n"
        (place / "outcome.txt").write_text(words, encoding="utf-8", errors="backslashreplace")

    @property
    def failures(self) -> int:
        """Returns the number of failed inputs."""
        return sum(len(same) for same in self.causes.values())

    def show(self, console: Console) -> None:
        """Prints the table of kinds, and a line for each cause of failures."""
        table = Table(title=f"inputs of seed {self.seed}", title_justify="left")
        table.add_column("kind")
        heads = ("inputs", "refused", "accepted", "failed", "seconds", "slowest", "most memory")
        for head in heads:
            table.add_column(head, justify="right")
        for name in [name for name in KINDS if name in self.verdicts]:
            table.add_row(name, *self._row([name]))
        if len(self.verdicts) > 1:
            table.add_section()
            table.add_row("all", *self._row(list(self.verdicts)))
        console.print(table)
        for (kind, sort, cause), same in sorted(self.causes.items()):
            first = min(outcome.number for outcome in same)
            self._line(console, f"{kind}: {sort}: {len(same)} × {cause}", kind, first)
        for (kind, cause), numbers in sorted(self.warned.items()):
            words = f"{kind}: no failure, a warning: {len(numbers)} × {cause}"
            self._line(console, words, kind, min(numbers))

    def _line(self, console: Console, words: str, kind: str, number: int) -> None:
        again = f"python -m tests.soak --kind {kind} --number {number}"
        again += f" --seed {self.seed}" if self.seed else ""
        console.print(f"{words}\n    {again}", markup=False, highlight=False)

    def _row(self, names: Sequence[str]) -> list[str]:
        verdicts = sum((self.verdicts[name] for name in names), Counter[str]())
        failed = sum(n for verdict, n in verdicts.items() if verdict not in (ACCEPTED, REFUSED))
        return [
            f"{sum(verdicts.values()):,}",
            f"{verdicts[REFUSED]:,}",
            f"{verdicts[ACCEPTED]:,}",
            f"{failed:,}" if failed else "",
            f"{sum(self.seconds[name] for name in names):.1f}",
            f"{max(self.slowest[name] for name in names):.2f} s",
            f"{max(self.peaks[name] for name in names) / 1e6:.0f} MB",
        ]

"""Shows progress: a bar on a terminal, plain lines elsewhere."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from prompt_jax.cli import hosts
from prompt_jax.errors import escape

SECONDS_BETWEEN_LINES = 10.0
SECONDS_BEFORE_FIRST = 3.0  # from which on the first one is shown at once

Advance = Callable[[int, str], None]
"""Called with the number done so far and a text that follows the bar."""


@contextlib.contextmanager
def bar(title: str, total: int, start: int = 0) -> Iterator[Advance]:
    """Shows progress from `start` to `total`, with the time left; any text is safe in `title`."""
    title = escape(title)
    if not hosts.is_first():
        with silence() as advance:
            yield advance
    elif sys.stderr.isatty():
        with _rich(title, total, start) as advance:
            yield advance
    else:
        yield _lines(title, total)


@contextlib.contextmanager
def silence() -> Iterator[Advance]:
    """Shows no progress; replaces `bar` for short work."""
    yield lambda done, words: None


@contextlib.contextmanager
def _rich(title, total, start):
    columns = (
        TextColumn("{task.description}", markup=False),  # names may have brackets
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[words]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=total, completed=start, words="")

        def advance(done, words):
            progress.update(task, completed=done, words=escape(words))

        yield advance


def _lines(title, total):
    began = last = time.monotonic()
    first = None  # number and time; what is compiled before it must not enter the time left

    def advance(done, words):
        nonlocal first, last
        now = time.monotonic()
        is_slow = first is None and now - began >= SECONDS_BEFORE_FIRST
        if first is None:
            first = done, now
        if done < total and now - last < SECONDS_BETWEEN_LINES and not is_slow:
            return
        last = now
        left = (now - first[1]) * (total - done) / max(done - first[0], 1)
        known = f", {left:.0f} s left" if done > first[0] or done >= total else ""
        line = f"{title} {done}/{total}, {now - began:.0f} s{known}  {escape(words)}"
        print(line.rstrip(), file=sys.stderr, flush=True)

    return advance

"""Processes that test inputs, and are ended when one takes too much time or memory."""

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from multiprocessing import connection
from pathlib import Path
from typing import Any, NamedTuple

from .attempt import MEMORY, SECONDS, Outcome, attempt, read_example
from .files import Files
from .kind import examples_of
from .kinds import KINDS

CHUNK = 40  # inputs that a process takes at a time
_POLL = 0.02  # seconds
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Chunk(NamedTuple):
    """Inputs `start` to `stop` - 1 of a kind."""

    kind: str
    start: int
    stop: int


def chunks(counts: dict[str, int]) -> list[Chunk]:
    """Returns all inputs in chunks, with mixed kinds."""
    made = [
        (start / count, Chunk(name, start, min(count, start + CHUNK)))
        for name, count in counts.items()
        for start in range(0, count, CHUNK)
    ]
    return [chunk for _, chunk in sorted(made)]


class _Worker:
    """A process and its current chunk."""

    def __init__(self, context: Any, seed: int, folder: Path, number: int):
        self.since = context.Value("d", 0.0, lock=False)  # start of the current input, or 0
        self.pipe, theirs = context.Pipe()
        place = folder / f"worker{number}"
        arguments = (theirs, self.since, seed, folder / "examples", place)
        self.process = context.Process(target=_work, args=arguments, daemon=True)
        self.process.start()
        theirs.close()
        self.chunk: Chunk | None = None  # the rest of the chunk

    def give(self, chunk: Chunk) -> None:
        self.chunk = chunk
        self.pipe.send(chunk)

    def take(self, found: Callable[[Outcome], None]) -> None:
        """Returns what it has sent; raises EOFError if it is dead."""
        while self.chunk and self.pipe.poll():
            outcome = self.pipe.recv()
            found(outcome)
            start = outcome.number + 1
            self.chunk = self.chunk._replace(start=start) if start < self.chunk.stop else None

    def held(self) -> int:
        """Returns its current memory in bytes."""
        try:
            return _PAGE * int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        except (OSError, IndexError):
            return 0

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


def run(
    counts: dict[str, int],
    seed: int,
    folder: Path,
    processes: int,
    found: Callable[[Outcome], None],
) -> None:
    """Tests all inputs.

    Args:
        counts: number of inputs of each kind.
        seed: of the inputs.
        folder: directory for examples and inputs.
        processes: number of processes.
        found: called with each outcome.
    """
    context = multiprocessing.get_context("forkserver")
    # So that a process that replaces a dead one has the libraries loaded.
    context.set_forkserver_preload([__name__])
    left = deque(chunks(counts))
    workers = [_Worker(context, seed, folder, number) for number in range(processes)]
    busy: dict[int, _Worker] = {}
    for number, worker in enumerate(workers):
        if left:
            worker.give(left.popleft())
            busy[number] = worker
    try:
        while busy:
            connection.wait([worker.pipe for worker in busy.values()], _POLL)
            for number, worker in list(busy.items()):
                cause = _follow(worker, found)
                if cause:
                    left.extendleft(_end(worker, cause, found))
                    worker = _Worker(context, seed, folder, number)
                    workers[number] = busy[number] = worker
                if worker.chunk is None:
                    if left:
                        worker.give(left.popleft())
                    else:
                        del busy[number]
    finally:
        for worker in workers:
            worker.end()


def _follow(worker: _Worker, found: Callable[[Outcome], None]) -> tuple[str, str] | None:
    """Reads what a worker has sent; returns (sort, cause) if it must be ended."""
    try:
        worker.take(found)
    except (EOFError, OSError):
        worker.process.join(5)
        code = worker.process.exitcode
        name = signal.Signals(-code).name if code and code < 0 else f"exit code {code}"
        return "crash", f"the process ended with {name}"
    since = worker.since.value
    if since and time.monotonic() - since > SECONDS:
        return "hang", f"more than {SECONDS:g} s"
    if since and worker.held() > MEMORY:
        return "memory", f"more than {MEMORY / 1e9:g} GB"
    return None


def _end(worker: _Worker, cause: tuple[str, str], found: Callable[[Outcome], None]) -> list[Chunk]:
    """Ends a worker and records the reason; returns the rest of its chunk."""
    seconds = time.monotonic() - (worker.since.value or time.monotonic())
    worker.process.kill()
    worker.process.join()
    with contextlib.suppress(EOFError, OSError):
        worker.take(found)  # sent in the meantime
    chunk = worker.chunk
    worker.end()
    if chunk is None:
        return []
    found(Outcome(chunk.kind, chunk.start, *cause, seconds=seconds))
    rest = chunk._replace(start=chunk.start + 1)
    return [rest] if rest.start < rest.stop else []


def _work(pipe: Any, since: Any, seed: int, examples: Path, place: Path) -> None:
    """Runs in a worker process: takes chunks and sends an outcome for each of their inputs.

    Before a kind's first input it reads an example, so that one-time effects of libraries, such as
    loading a codec, are not attributed to the input.
    """
    _be_quiet()
    place.mkdir(parents=True, exist_ok=True)
    warm: dict[str, list[Files]] = {}
    while True:
        chunk = pipe.recv()
        kind = KINDS[chunk.kind]
        if chunk.kind not in warm:
            warm[chunk.kind] = examples_of(kind, examples)
            read_example(kind, warm[chunk.kind][0], place)
        for number in range(chunk.start, chunk.stop):
            since.value = time.monotonic()
            outcome = attempt(kind, warm[chunk.kind], seed, number, place)
            since.value = 0.0
            pipe.send(outcome)


def _be_quiet() -> None:
    """Hides the output of readers and compiled libraries."""
    sys.stdout.flush()
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")

"""Commands in processes of their own, one a core: small models gain little from a second one."""

import contextlib
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from prompt_jax.cli import progress
from prompt_jax.errors import PromptError

SECONDS_BETWEEN_LOOKS = 0.5
LAST_LINES = 5


class Job(NamedTuple):
    """A command.

    Attributes:
        name: what it is called; its log is NAME.log.
        words: what follows `python -m`.
    """

    name: str
    words: Sequence[str]


class Running(NamedTuple):
    """A command at work, the core that it is kept to, and its log."""

    job: Job
    process: subprocess.Popen
    core: int
    log: pathlib.Path


def run_all(jobs: Sequence[Job], number: int, logs: pathlib.Path) -> None:
    """Runs all of them, so many at a time, each on a core of its own.

    What they print stands in their logs. When one fails, or this is stopped, the others are asked
    to stop: what they have saved, they go on from.

    Args:
        jobs: in their order.
        number: how many at a time.
        logs: a folder, which is made.

    Raises:
        PromptError: there are fewer cores, or one failed; with the end of its log.
    """
    cores = sorted(os.sched_getaffinity(0))
    if not 1 <= number <= len(cores):
        raise PromptError(f"--processes={number} must be from 1 to {len(cores)}, the cores here")
    logs.mkdir(parents=True, exist_ok=True)
    waiting, free = list(reversed(jobs)), cores[:number]
    with progress.bar("commands", len(jobs)) as advance, _stopping() as running:
        while waiting or running:
            while waiting and free:
                running.append(_start(waiting.pop(), free.pop(), logs))
            for one in [one for one in running if one.process.poll() is not None]:
                running.remove(one)
                free.append(one.core)
                if one.process.returncode:
                    raise PromptError(_failure(one))
                left = len(waiting) + len(running)
                advance(len(jobs) - left, one.job.name)
            time.sleep(SECONDS_BETWEEN_LOOKS)


@contextlib.contextmanager
def _stopping() -> Iterator[list[Running]]:
    """A list of what runs; what is left in it at the end is stopped."""
    running: list[Running] = []
    try:
        yield running
    finally:
        for one in running:
            one.process.terminate()
        for one in running:
            one.process.wait()


def _start(job: Job, core: int, logs: pathlib.Path) -> Running:
    log = logs / f"{job.name}.log"
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", *job.words], stdout=file, stderr=subprocess.STDOUT
        )
    # Before it has imported what counts the cores.
    with contextlib.suppress(ProcessLookupError):
        os.sched_setaffinity(process.pid, {core})
    return Running(job, process, core, log)


def _failure(one: Running) -> str:
    lines = one.log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
    said = "\n".join(lines)
    return f"{one.job.name} ended with code {one.process.returncode}; {one.log} ends in:\n{said}"

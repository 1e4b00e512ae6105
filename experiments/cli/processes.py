"""Runs commands in parallel processes, one per core: small models gain little from more cores."""

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

POLL_SECONDS = 0.5
LAST_LINES = 5


class Job(NamedTuple):
    """A command.

    Attributes:
        name: the name of its log, NAME.log.
        words: the arguments of `python -m`.
    """

    name: str
    words: Sequence[str]


class Running(NamedTuple):
    """A running command, the core that it is pinned to, and its log."""

    job: Job
    process: subprocess.Popen
    core: int
    log: pathlib.Path


def run_all(jobs: Sequence[Job], number: int, logs: pathlib.Path) -> None:
    """Runs commands in parallel, each pinned to a core, with its output in a log.

    If one fails, or this process is stopped, the others are terminated; they can be resumed.

    Args:
        jobs: commands, in their order.
        number: number of parallel processes.
        logs: directory of the logs, created if missing.

    Raises:
        PromptError: there are fewer cores, or a command failed; quotes the end of its log.
    """
    cores = sorted(os.sched_getaffinity(0))
    if not 1 <= number <= len(cores):
        raise PromptError(
            f"--processes={number} must be from 1 to {len(cores)}, the number of available cores"
        )
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
            time.sleep(POLL_SECONDS)


@contextlib.contextmanager
def _stopping() -> Iterator[list[Running]]:
    """Yields a list of running commands; terminates those that are left in it at the end."""
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
    # Before it imports libraries that count the cores.
    with contextlib.suppress(ProcessLookupError):
        os.sched_setaffinity(process.pid, {core})
    return Running(job, process, core, log)


def _failure(one: Running) -> str:
    lines = one.log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
    end = "\n".join(lines)
    return f"{one.job.name} exited with code {one.process.returncode}; the end of {one.log}:\n{end}"

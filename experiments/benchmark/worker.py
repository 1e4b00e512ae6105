"""Runs one side of a cell in a separate process, to measure its peak memory and to stop it.

Has no heavy imports at the top, because the counterpart's process must not load JAX.
"""

import importlib
import math
import multiprocessing
import os
import resource
import sys
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from experiments.benchmark.handover import SIDE_SHARE
from prompt_jax.errors import PromptError

POLL_SECONDS = 0.2
# Work of a process that answers once, by kind.
ONCE = {
    "device": "ours.jax_side:describe_device",
    "parity": "ours.jax_parity:measure",
    "torch parity": "counterparts.torch_parity:measure",
    "attention": "ours.jax_attention:measure",
}
NO_TIME = "no time left"
# Below this share of free memory the kernel may kill any process.
LEAST_FREE = 0.03
_MEMORY_WORDS = ("out of memory", "RESOURCE_EXHAUSTED", "can't allocate memory", "MemoryError")


class Skipped(Exception):
    """Raised with a reason if a side could not be measured.

    Attributes:
        kind: kind of the `Worker`.
    """

    def __init__(self, reason: str, kind: str = ""):
        super().__init__(reason)
        self.kind = kind


class Failed(Skipped):
    """Raised if a side failed for another reason than time or memory."""


class Worker:
    """The process of one side; a context manager that ends the process."""

    def __init__(self, kind: str, seconds: float, *arguments: Any, until: float = math.inf):
        """Starts the process.

        Args:
            kind: "ours", "in turn" (`Ours` with single runs), "counterpart", a kind of `ONCE`, or
                "cuda" (returns whether PyTorch can use CUDA).
            seconds: maximum time per answer.
            arguments: arguments of the side.
            until: the end of the benchmark on `time.monotonic`.
        """
        # No huge pages (GLIBC_TUNABLES): a virtual machine may reclaim free ones between turns, and
        # faulting them in again slowed this library, which frees more per step, by 1.2 to 1.4.
        context = multiprocessing.get_context("spawn")
        self._kind = kind
        self._connection, other = context.Pipe()
        self._seconds, self._until = seconds, until
        self._process = context.Process(target=serve, args=(other, kind, arguments), daemon=True)
        self._process.start()
        other.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._connection.close()
        self._process.join(1)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def ask(self, *question: Any) -> Any:
        """Sends a question, if any, and waits for the answer.

        Raises:
            Skipped: the process needed too much time or memory.
            Failed: the process failed for another reason.
            PromptError: the side raised it.
        """
        try:
            if question:
                self._connection.send(question)
            self._wait()
            answer, content = self._connection.recv()
        except (EOFError, ConnectionError):
            reason = "the system killed its process, probably for lack of memory"
            raise Skipped(reason, self._kind) from None
        if answer == "memory":
            raise Skipped(f"does not fit in memory ({content})", self._kind)
        if answer == "error":
            raise PromptError(content)
        if answer == "failed":
            raise Failed(content, self._kind)
        return content

    def _wait(self):
        began = time.monotonic()
        while not self._connection.poll(POLL_SECONDS):
            if time.monotonic() > self._until:
                self._process.kill()
                raise Skipped(NO_TIME, self._kind)
            if time.monotonic() - began > self._seconds:
                self._process.kill()
                reason = f"stopped after {self._seconds:.0f} s without an answer"
                raise Skipped(reason, self._kind)
            free = free_memory()
            if free is not None and free < LEAST_FREE * total_memory():
                self._process.kill()
                reason = f"does not fit in memory ({total_memory() / 2**30:.0f} GiB)"
                raise Skipped(reason, self._kind)


def serve(connection: Connection, kind: str, arguments: tuple) -> None:
    """Builds the side in the process and answers questions until the connection closes."""
    # By default, JAX allocates most of an accelerator's memory at the start.
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    os.environ["XLA_PYTHON_CLIENT_MEM_FRACTION"] = str(SIDE_SHARE)
    try:
        _serve(connection, kind, arguments)
    except (EOFError, ConnectionError, KeyboardInterrupt):
        return
    except PromptError as error:
        connection.send(("error", str(error)))
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        is_memory = any(word.lower() in reason.lower() for word in _MEMORY_WORDS)
        if not is_memory:
            traceback.print_exc()
        connection.send(("memory" if is_memory else "failed", reason.splitlines()[0][:200]))


def _serve(connection, kind, arguments):
    if kind in ONCE:
        place, _, name = ONCE[kind].partition(":")
        module = importlib.import_module(f"experiments.benchmark.{place}")
        connection.send(("done", getattr(module, name)(*arguments)))
        return
    if kind == "cuda":
        import torch

        connection.send(("done", torch.cuda.is_available()))
        return
    side: Any
    if kind in ("ours", "in turn"):
        from experiments.benchmark.ours.jax_side import Ours

        cell, weights, memory = arguments
        side = Ours(cell, weights, memory, in_turn=kind == "in turn")
        connection.send(("done", (side.facts, side.handover)))
    else:
        from experiments.benchmark.counterparts.torch_side import Counterpart

        side = Counterpart(*arguments)
        connection.send(("done", (side.facts, None)))
    while True:
        what, *rest = connection.recv()
        if what == "run":
            connection.send(("done", side.run(*rest)))
        else:
            memory = side.device_memory()
            connection.send(("done", peak_memory() if memory is None else memory))


def peak_memory() -> int:
    """Returns the peak resident size of this process, in bytes."""
    status = Path("/proc/self/status")
    if status.is_file():  # unlike getrusage below, excludes the parent process
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else size * 1024


def total_memory() -> int:
    """Returns the memory of the machine, in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def free_memory() -> int | None:
    """Returns the available memory of the machine, in bytes; None if unknown."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    sizes = {name: int(rest.split()[0]) for name, rest in (line.split(":") for line in lines)}
    return sizes["MemAvailable"] * 1024 if "MemAvailable" in sizes else None

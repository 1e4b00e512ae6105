"""Compiles in a process of its own, which a compiler may crash or hang.

Has no heavy imports at the top: the environment is set before JAX is imported.
"""

import os
import subprocess
import sys
import tempfile
import threading
import time
from multiprocessing.connection import Connection, Pipe
from typing import TYPE_CHECKING, Any

from prompt_jax.errors import PromptError

if TYPE_CHECKING:
    from experiments.plan.compiling import Question
    from experiments.plan.targets import Target

_LINES = 3
_SECONDS_BETWEEN_LOOKS = 1.0


class Failed(Exception):
    """Raised with a reason if a program could not be compiled."""


class Compiler:
    """A process that compiles for a target; a context manager that ends it.

    A process that crashed or took too long is replaced at the next question.
    """

    def __init__(self, target: "Target", seconds: float):
        """Takes the target and the longest time for a program."""
        self._target, self._seconds = target, seconds
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> "Compiler":
        return self

    def __exit__(self, *details: Any) -> None:
        self._end()

    def ask(self, question: "Question") -> Any:
        """Returns `compiling.answer` of a question.

        Raises:
            Failed: the compiler crashed, took too long or refused the program.
            PromptError: the run is invalid.
        """
        if self._process is None:
            self._start()
        try:
            self._connection.send(question)
            if not self._connection.poll(self._seconds):
                self._end()
                raise Failed(f"stopped after {self._seconds:.0f} s")
            kind, content = self._connection.recv()
        except (EOFError, ConnectionError):
            reason = self._last_words()
            self._end()
            raise Failed(f"the compiler crashed{reason}") from None
        if kind == "error":
            raise PromptError(content)
        if kind == "failed":
            raise Failed(content)
        return content

    def _start(self) -> None:
        self._connection, other = Pipe()
        self._output = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", "experiments.plan.worker", str(other.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env=os.environ | self._target.environment,
            pass_fds=[other.fileno()],
        )
        other.close()

    def _end(self) -> None:
        if self._process is not None:
            self._connection.close()
            self._process.kill()
            self._process.wait()
            self._output.close()
            self._process = None

    def _last_words(self) -> str:
        """Returns the exit code and the end of the output of a process that ended."""
        assert self._process is not None
        code = self._process.wait()
        self._output.seek(0)
        lines = [line.strip() for line in self._output if line.strip()][-_LINES:]
        return f" (exit code {code}): {' | '.join(lines)}" if lines else f" (exit code {code})"


def serve(connection: Connection) -> None:
    """Answers questions until the connection closes."""
    from experiments.plan import compiling
    from prompt_jax.errors import DataError

    while True:
        try:
            question = connection.recv()
        except EOFError:
            return
        try:
            reply = "done", compiling.answer(question)
        except (PromptError, DataError) as error:
            reply = "error", str(error)
        except Exception as error:  # the compiler's, of any kind
            first = next(iter(str(error).splitlines()), "")
            reply = "failed", f"{type(error).__name__}: {first[:300]}"
        connection.send(reply)


def end_with(parent: int) -> None:
    """Ends this process when its parent has ended, even while it compiles."""
    while os.getppid() == parent:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    serve(Connection(int(sys.argv[1])))

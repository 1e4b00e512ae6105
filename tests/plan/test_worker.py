"""A compiler that crashes, hangs or rejects a program does not end the command."""

import os
import subprocess
import sys
import time

import pytest

from experiments.config.config import Config
from experiments.plan import targets, worker
from experiments.plan.compiling import Question
from prompt_jax.clip import VARIANTS
from prompt_jax.errors import PromptError

CPU = targets.parse("cpu:2")


class Calls:
    """A question that calls a function where it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def test_a_crash_and_a_hang_are_reported_and_the_process_is_replaced():
    with worker.Compiler(CPU, seconds=60) as compiler:
        with pytest.raises(worker.Failed, match=r"crashed \(exit code 3\)"):
            compiler.ask(Calls(os._exit, 3))
        # The last output of the compiler is reported too.
        command = f"{sys.executable} -c 'print(\"Check failed: size > 0\")'; kill -ABRT $PPID"
        with pytest.raises(worker.Failed, match=r"exit code -6\): .*Check failed: size > 0"):
            compiler.ask(Calls(subprocess.call, ["sh", "-c", command]))
    with worker.Compiler(CPU, seconds=1) as compiler:
        for _ in range(2):
            with pytest.raises(worker.Failed, match="stopped after 1 s"):
                compiler.ask(Calls(time.sleep, 60))


def test_error_messages_are_returned():
    with worker.Compiler(CPU, seconds=60) as compiler:
        # Not a question: it has no target.
        with pytest.raises(worker.Failed, match="AttributeError: .*'target'"):
            compiler.ask("question")
        with pytest.raises(PromptError, match="unknown target 'v5'"):
            compiler.ask(Question(Config(), VARIANTS["ViT-B/16"], "v5", 2))


def test_a_worker_ends_with_its_parent():
    script = (
        "import os; from experiments.plan import targets, worker; "
        "compiler = worker.Compiler(targets.parse('cpu'), 60); compiler._start(); "
        "print(compiler._process.pid, flush=True); os._exit(0)"
    )
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    pid, waited = int(process.stdout), 0.0
    while os.path.exists(f"/proc/{pid}") and waited < 60:
        time.sleep(0.2)
        waited += 0.2
    assert waited < 60

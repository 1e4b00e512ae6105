"""Commands in parallel processes."""

import os

import pytest

from experiments.cli import processes
from experiments.cli.processes import Job
from prompt_jax.errors import PromptError

CORES = "import os, time; time.sleep(0.5); print(os.sched_getaffinity(0))"


def python(name, code):
    return Job(name, ["timeit", "-n1", "-r1", code])


def test_each_command_has_its_own_core_and_log(tmp_path):
    number = min(2, len(os.sched_getaffinity(0)))
    processes.run_all([python(name, CORES) for name in "abc"], number, tmp_path / "logs")
    cores = set()
    for name in "abc":
        first = (tmp_path / "logs" / f"{name}.log").read_text().splitlines()[0]
        assert first.startswith("{") and "," not in first
        cores.add(first)
    assert len(cores) == number


def test_a_failing_command_ends_the_others(tmp_path):
    marker = tmp_path / "ended"
    slow = f"import time; time.sleep(60); open({str(marker)!r}, 'w')"
    jobs = [python("slow", slow), python("wrong", "raise SystemExit('the disk is full')")]
    number = min(2, len(os.sched_getaffinity(0)))
    with pytest.raises(
        PromptError, match=r"(?s)wrong exited with code 1; .*wrong\.log.*disk is full"
    ):
        processes.run_all(jobs[2 - number :], number, tmp_path)
    assert not marker.exists()


@pytest.mark.parametrize("number", [0, 10_000])
def test_at_most_as_many_commands_run_as_there_are_cores(number, tmp_path):
    with pytest.raises(PromptError, match=f"--processes={number} must be from 1 to"):
        processes.run_all([], number, tmp_path)

"""System failures become one-line messages; bugs keep their traceback."""

import argparse
import errno
import os

import jax
import pytest
import tiny

from experiments.cli import command_line
from prompt_jax.cli import commands
from prompt_jax.errors import PromptError
from prompt_jax.training import sharding


def raising(error):
    def command(argv):
        raise error

    return command


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "free space, then run again"),
        (errno.EDQUOT, "free space, then run again"),
        (errno.EFBIG, "ulimit -f"),
        (errno.EROFS, "use a writable path"),
        (errno.EACCES, "change its permissions or use another path"),
        (errno.EIO, "the disk or its connection fails"),
        (errno.ENOENT, "restore it, or use another path"),
    ],
)
def test_a_system_failure_is_one_line(capsys, number, advice):
    error = OSError(number, os.strerror(number), "results/x.json")
    assert command_line.explain(raising(error), []) == command_line.USAGE_ERROR
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: results/x.json: {os.strerror(number)}; ")
    assert advice in printed and printed.count("\n") == 1


def test_a_full_disk_is_named_without_a_file_too(capsys):
    def command(argv):
        with open("/dev/full", "w") as file:
            file.write("x")

    assert command_line.explain(command, []) == command_line.USAGE_ERROR
    assert capsys.readouterr().err == (
        "error: No space left on device; free space, then run again\n"
    )


@pytest.mark.parametrize("error", [OSError(errno.EBADF, "bad"), OSError("no number"), KeyError(1)])
def test_bugs_keep_their_traceback(error):
    with pytest.raises(type(error)):
        command_line.explain(raising(error), [])


def test_long_contents_of_files_are_truncated_in_messages(capsys):
    def refuse():
        raise PromptError("a.csv: unknown split 'x" + "y" * 10**5 + "'; must be train\nsecond line")

    assert command_line.explain(refuse) == command_line.USAGE_ERROR
    error = capsys.readouterr().err
    assert error.startswith("error: a.csv: unknown split 'xyy") and " … yy" in error
    assert error.endswith("yy'; must be train\nsecond line\n") and len(error) < 2100


def test_exit_codes_are_passed_on():
    assert commands.explain(lambda: 1) == 1
    assert commands.explain(lambda: None) == 0


@pytest.mark.parametrize(
    "printing",
    ["print('x' * 100_000)", "print('x')", "rich.print('x')"],
    ids=["at once", "at the end", "rich"],
)
def test_a_closed_output_gives_no_traceback(printing):
    code = (
        "import os, sys, rich\n"
        "from prompt_jax.cli import commands\n"
        "reading, writing = os.pipe(); os.close(reading); os.dup2(writing, 1)\n"
        f"sys.exit(commands.explain(lambda: {printing}))"
    )
    process = tiny.command("-c", code)
    out, error = process.communicate(timeout=20)
    assert (process.returncode, out, error) == (commands.CLOSED_OUTPUT, "", "")


def test_requested_devices_that_are_missing(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    for reason in (AssertionError(), RuntimeError("Unable to initialize (set JAX_PLATFORMS='')")):
        monkeypatch.setattr(jax, "devices", lambda reason=reason: raising(reason)(()))
        with pytest.raises(PromptError, match=r"JAX_PLATFORMS=cuda: .*'\.\[cuda12\]'") as absent:
            sharding.Placement()
        assert "(set " not in str(absent.value) and "\n" not in str(absent.value)


@pytest.mark.slow
def test_a_command_without_its_devices_ends_before_any_work(tmp_path):
    words = ["-m", "experiments.main", "--config=experiments/configs/images/zero_shot.py"]
    process = tiny.command(*words, f"--workdir={tmp_path / 'run'}", JAX_PLATFORMS="cuda")
    out, error = process.communicate(timeout=60)
    assert (process.returncode, out) == (command_line.USAGE_ERROR, "")
    assert error.startswith("error: JAX_PLATFORMS=cuda: ") and error.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("text", ["0", "-1", "2.5", "many", "1e3", "1000001", "9" * 5000, ""])
def test_a_counting_flag_is_a_whole_number(text):
    assert commands.whole()("1") == 1 and commands.whole(0)("0") == 0
    with pytest.raises(argparse.ArgumentTypeError, match="whole number, at least 1 and at most 1,"):
        commands.whole()(text)

"""Exports are atomic: after full disks, kills and errors, they are complete or unchanged."""

import os
import random
import resource
import signal
import subprocess
import sys
import time

import exported
import pytest
import tiny
from exported import export

from prompt_jax.errors import PromptError
from prompt_jax.export import replacing, to_onnx, writing

# Replaces a directory repeatedly; all three files contain the number of the iteration.
_WRITER = """
import itertools, pathlib, sys
from prompt_jax.export import replacing
{before}
folder = pathlib.Path(sys.argv[1])
for number in itertools.count(int(sys.argv[2])):
    with replacing.replacing(folder, lambda there: there.exists()) as aside:
        (aside / "deep").mkdir()
        for name in ("a", "b", "deep/c"):
            (aside / name).write_text(str(number))
    print(number, flush=True)
"""
_CANNOT_SWAP = "replacing._swap = lambda one, other: False"


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def siblings(folder):
    return sorted(path.name for path in folder.parent.iterdir())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Returns a trained CoOp with its backbone beside it."""
    return exported.save_run(tmp_path_factory.mktemp("run"), exported.train("coop"))


@pytest.fixture
def earlier(run, tmp_path, capsys):
    """Returns an earlier export and its contents."""
    output = tmp_path / "place" / "export"
    assert export(run, output) == 0
    capsys.readouterr()
    return output, contents(output)


@pytest.mark.parametrize("most", [100, 5_000, 20_000, 100_000])
@pytest.mark.parametrize("is_new", [True, False])
def test_a_full_disk_leaves_the_earlier_export(run, earlier, tmp_path, capsys, most, is_new):
    output, before = earlier
    output = tmp_path / "place" / "new" if is_new else output
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))
    try:
        assert export(run, output, "--with-backbone") == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "File too large" in capsys.readouterr().err
    assert contents(earlier[0]) == before and siblings(output) == ["export"]
    assert export(run, output, "--with-backbone") == 0
    assert contents(output).keys() > before.keys()


@pytest.mark.slow
def test_a_rejected_onnx_leaves_the_earlier_export(run, earlier, capsys, monkeypatch):
    output, before = earlier
    monkeypatch.setattr(to_onnx, "_CLOSE", -1.0)
    assert export(run, output, "--onnx") == 2
    assert "model.onnx: its logits differ" in capsys.readouterr().err
    assert contents(output) == before and siblings(output) == ["export"]


def kill(program, folder, number, seconds):
    """Starts a writer and kills it; returns the last number that it reported."""
    words = [sys.executable, "-c", program, str(folder), str(number)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=tiny.REPOSITORY)
    assert int(process.stdout.readline()) == number
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    printed, _ = process.communicate()
    return int((printed.split() or [number])[-1])


@pytest.mark.parametrize("before", ["", _CANNOT_SWAP], ids=["exchanged", "renamed"])
def test_a_kill_at_any_moment_leaves_one_complete_directory(tmp_path, before):
    folder, rng, last, kinds = tmp_path / "export", random.Random(0), 0, set()
    for _ in range(12):
        last = kill(_WRITER.format(before=before), folder, last + 1, rng.uniform(0, 0.05))
        kinds.add(tuple(siblings(folder)))
        place = folder
        if not folder.exists():  # between two renames, where directories cannot be exchanged
            assert before, "the folder is gone"
            place = folder.with_name(".export.earlier")
        found = contents(place)
        assert found.keys() == {"a", "b", "deep/c"}
        [number] = set(found.values())
        assert last <= int(number) <= last + 1
        last = int(number)
    assert any(".export.unfinished" in names for names in kinds), "no kill came in the middle"
    with replacing.replacing(folder, lambda earlier: earlier.exists()) as aside:
        (aside / "a").write_text("new")
    assert siblings(folder) == ["export"] and contents(folder) == {"a": b"new"}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_command_leaves_the_earlier_export(run, earlier, number):
    output, before = earlier
    words = ["-m", "prompt_jax.export", str(run), f"--output={output}"]
    process = tiny.command(*words, f"--backbone={run / 'clip'}", "--onnx", "--stablehlo")
    aside = output.with_name(".export.unfinished")
    for _ in range(1200):
        if (aside / writing.CODE).exists() or process.poll() is not None:
            break
        time.sleep(0.1)
    process.send_signal(number)
    process.communicate()
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    assert contents(output) == before and aside.exists()
    assert export(run, output, "--with-backbone") == 0
    assert (output / "clip").is_dir() and siblings(output) == ["export"]


def test_two_processes_cannot_write_the_same_export(run, earlier, capsys):
    output, before = earlier
    with replacing.replacing(output, writing.check_place):
        assert export(run, output) == 2
        assert "another process is writing" in capsys.readouterr().err
        aside = output.with_name(".export.unfinished")
        writing.write(aside, exported.train("zero_shot"), exported.FROZEN)
    assert contents(output) != before and siblings(output) == ["export"]


def test_a_directory_created_in_the_meantime_is_kept(earlier):
    output, before = earlier
    with (
        pytest.raises(PromptError, match=r"holds mine\.txt"),
        replacing.replacing(output, writing.check_place),
    ):
        (output / "mine.txt").write_text("mine")
    assert contents(output) == before | {"mine.txt": b"mine"} and siblings(output) == ["export"]


def test_a_link_stays_a_link(run, earlier, capsys):
    output, before = earlier
    link = output.with_name("link")
    link.symlink_to(output)
    output.chmod(0o750)
    assert export(run, link, "--stablehlo") == 0
    assert link.is_symlink() and contents(output).keys() == before.keys() | {"model.stablehlo"}
    assert output.stat().st_mode & 0o777 == 0o750


@pytest.mark.parametrize("around", [False, True])
def test_the_current_directory_is_not_replaced(run, earlier, monkeypatch, capsys, around):
    output, before = earlier
    (output / "clip").mkdir()
    monkeypatch.chdir(output / "clip" if around else output)
    assert export(run.absolute(), os.curdir if not around else os.pardir) == 2
    assert "contains the current directory" in capsys.readouterr().err
    assert contents(output) == before


def test_a_mount_point_is_not_replaced(run, earlier, monkeypatch, capsys):
    output, before = earlier
    monkeypatch.setattr(os.path, "ismount", lambda path: path == output)
    assert export(run, output) == 2
    message = (
        f"is a mount point, which cannot be replaced; name a new directory, e.g. {output}/export"
    )
    assert message in capsys.readouterr().err
    assert contents(output) == before

"""Stopped runs resume to the results of uninterrupted ones; other runs' workdirs are rejected."""

import json
import re
import shutil
import signal
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import tiny

from experiments.record.log import lines_until
from experiments.record.workdir import read_evaluations
from experiments.run import experiment, testing, training
from prompt_jax.cli.interrupts import STOPPING
from prompt_jax.errors import PromptError
from prompt_jax.training import checkpoint, saving

pytestmark = pytest.mark.slow
EPOCHS, STEPS_PER_EPOCH = 40, 3


class Setting(NamedTuple):
    """Files that the runs read, and where they write."""

    clip: Path
    root: Path
    folder: Path


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    """Returns the tiny CLIP and data set."""
    folder = tmp_path_factory.mktemp("runs")
    clip = tiny.save_clip(folder / "clip")
    return Setting(clip, tiny.save_caltech101(folder / "data"), folder)


def coop(setting, epochs=2):
    config = tiny.small_config("coop", setting.clip, setting.root, context_length=2)
    config.epochs = epochs
    return config


@pytest.fixture(scope="module")
def finished(setting):
    """Returns the workdir of a short finished run, which tests must not change."""
    experiment.run(coop(setting), setting.folder / "finished")
    return setting.folder / "finished"


def assert_same_outcome(workdir, other, steps):
    """Checks that prompts, optimizer state and results are equal, and every step is logged once."""
    one, two = tiny.prompts_of(workdir), tiny.prompts_of(other)
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], two[name], err_msg=name)
    scores = [json.loads((folder / "results.json").read_text()) for folder in (workdir, other)]
    for key in ("base", "new", "h", "per_iteration", "zero_shot", "config"):
        assert scores[0][key] == scores[1][key]
    logs = [losses(folder) for folder in (workdir, other)]
    assert [step for step, _ in logs[0]] == list(range(1, steps + 1))
    assert logs[0] == logs[1]


def losses(workdir):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [(line["step"], line["loss"]) for line in map(json.loads, lines)]


def newest(workdir):
    """Returns the newest checkpoint's step, 0 if there is none."""
    folder = workdir / "checkpoints"
    steps = [int(p.name) for p in folder.glob("*") if p.name.isdigit()] if folder.exists() else []
    return max(steps, default=0)


def stop_after(process, workdir, step, number):
    """Sends the signal once there is a checkpoint after `step`; returns exit code and stderr."""
    try:
        deadline = time.monotonic() + 120
        while newest(workdir) <= step and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        process.send_signal(number)
        return process.wait(60), process.communicate()[1]
    finally:
        process.kill()
        process.communicate()


def test_terminated_then_killed_processes_equal_an_uninterrupted_run(setting):
    config, workdir = coop(setting, EPOCHS), setting.folder / "killed"
    total = EPOCHS * STEPS_PER_EPOCH
    experiment.run(config, setting.folder / "whole")
    words = ["-m", "experiments.main", *tiny.arguments(config, workdir)]

    process = tiny.command(*words)
    code, errors = stop_after(process, workdir, 0, signal.SIGTERM)
    stopped = newest(workdir)
    assert (code, 0 < stopped < total) == (143, True), errors
    assert STOPPING in errors.splitlines()
    assert (
        errors.splitlines()[-1] == f"stopped after step {stopped} of {total}; run again to resume"
    )
    assert "Traceback" not in errors

    process = tiny.command(*words)
    code, errors = stop_after(process, workdir, stopped, signal.SIGKILL)
    assert code == -signal.SIGKILL and stopped < newest(workdir) < total, errors
    assert not (workdir / "results.json").exists()

    experiment.run(config, workdir)
    assert_same_outcome(workdir, setting.folder / "whole", total)


def test_ctrl_c_writes_a_checkpoint_and_the_next_run_resumes(setting, monkeypatch, capsys):
    config = tiny.small_config("pro_mpt", setting.clip, iterations=1, vision_depth=1)
    whole, workdir = setting.folder / "pro_mpt", setting.folder / "pro_mpt-stopped"
    experiment.run(config, whole)

    class Interrupted(training.Log):
        def write(self, step, metrics):
            if step == 3:
                signal.raise_signal(signal.SIGINT)
            return super().write(step, metrics)

    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(training, "Log", Interrupted)
        with pytest.raises(KeyboardInterrupt, match="stopped after step 3 of 6; run again"):
            experiment.run(config, workdir)
    assert newest(workdir) == 3
    assert signal.getsignal(signal.SIGINT) is before
    experiment.run(config, workdir)
    assert f"resuming from step 3 of 6 in {workdir}" in capsys.readouterr().out
    assert_same_outcome(workdir, whole, 6)


def test_a_run_that_was_killed_after_training_is_only_evaluated(setting, finished, monkeypatch):
    workdir = setting.folder / "unevaluated"
    with monkeypatch.context() as patch:
        patch.setattr(testing, "Evaluator", None)
        with pytest.raises(TypeError):
            experiment.run(coop(setting), workdir)
    monkeypatch.setattr(training.Log, "write", None)
    experiment.run(coop(setting), workdir)
    assert_same_outcome(workdir, finished, 6)


def test_a_finished_run_is_not_repeated(setting, finished, monkeypatch, capsys):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    monkeypatch.setattr(training, "fit", None)
    config = coop(setting)
    config.log_every = 7  # fields of logging may change
    results = experiment.run(config, finished)
    assert results == json.loads((finished / "results.json").read_text())
    assert f"already finished: {finished}" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before


@pytest.mark.parametrize("done", [True, False], ids=["finished", "unfinished"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(seed=2), r"holds another run \(seed: 2 here, 1 there\)"),
        (
            lambda c: c.settings.update(context_length=3),
            r"settings.context_length: 3 here, 2 there",
        ),
        (lambda c: c.data.update(shots=2), r"data.shots: 2 here, 3 there"),
    ],
)
def test_a_workdir_of_another_run_is_rejected(setting, finished, tmp_path, change, message, done):
    workdir = copy(finished, tmp_path, done)
    config = coop(setting)
    change(config)
    with pytest.raises(PromptError, match=f"{message}.*use another --workdir, or delete"):
        experiment.run(config, workdir)


@pytest.mark.parametrize("done", [True, False], ids=["finished", "unfinished"])
def test_a_workdir_of_another_method_is_rejected_naming_it_first(setting, finished, tmp_path, done):
    config = tiny.small_config("cocoop", setting.clip, setting.root)
    with pytest.raises(PromptError, match=r"another run \(method: 'cocoop' here, 'coop' there; "):
        experiment.run(config, copy(finished, tmp_path, done))


@pytest.mark.parametrize("done", [True, False], ids=["finished", "unfinished"])
def test_changed_weights_are_rejected_under_the_same_path_too(setting, finished, tmp_path, done):
    workdir = copy(finished, tmp_path, done)
    config = coop(setting)
    config.backbone = str(tiny.save_clip(tmp_path / "elsewhere"))
    with pytest.raises(PromptError, match=r"\(backbone.source: '.*elsewhere' here, '.*clip' there"):
        experiment.run(config, workdir)
    try:
        tiny.save_clip(setting.clip, changed="text/block_0/fc/bias")
        with pytest.raises(
            PromptError, match=r"another run \(backbone.hash: '\w+' here, '\w+' there"
        ):
            experiment.run(coop(setting), workdir)
    finally:
        tiny.save_clip(setting.clip)


def copy(finished, tmp_path, done):
    """Returns a copy of the finished workdir, without results to be resumed."""
    workdir = tmp_path / "workdir"
    shutil.copytree(finished, workdir)
    if not done:
        (workdir / "results.json").unlink()
    return workdir


def halve(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_a_damaged_checkpoint_has_a_message_with_a_working_remedy(setting, finished, tmp_path):
    workdir = copy(finished, tmp_path, done=False)
    arrays = next(path for path in (workdir / "checkpoints/6/state/d").iterdir())
    halve(arrays)
    for step, instead in ((6, "resume from step 4, whose"), (4, "start this run again")):
        (workdir / f"checkpoints/{step}/record.json").write_text("{}")
        with pytest.raises(PromptError) as error:
            experiment.run(coop(setting), workdir)
        message = str(error.value)
        assert message.startswith(f"the checkpoint {workdir}/checkpoints/{step} cannot be read: ")
        assert f"delete that directory to {instead}" in message and "\n" not in message
        shutil.rmtree(workdir / f"checkpoints/{step}")
    experiment.run(coop(setting), workdir)
    assert_same_outcome(workdir, finished, 6)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"config": {}}'])
def test_damaged_results_have_a_message_with_a_remedy(setting, finished, tmp_path, content):
    workdir = copy(finished, tmp_path, done=True)
    (workdir / "results.json").write_text(content)
    with pytest.raises(PromptError, match=r"results.json is damaged \(.*delete it to finish"):
        experiment.run(coop(setting), workdir)


def test_log_lines_after_the_checkpoint_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert lines_until(path, 5) == []
    whole = [json.dumps({"step": step}) + "\n" for step in (2, 4, 6)]
    path.write_text("".join(whole) + '{"step": 8, "lo')
    assert lines_until(path, 4) == whole[:2]
    assert lines_until(path, 9) == whole
    assert lines_until(path, 0) == []


def test_a_position_that_does_not_match_its_step_is_rejected(setting, finished, tmp_path):
    workdir = copy(finished, tmp_path, done=False)
    folder = workdir / "checkpoints/6"
    content = json.loads((folder / "record.json").read_text())
    assert content["record"]["position"] == {"next_index": 6}
    content["record"]["position"] = {"next_index": 5}
    (folder / "record.json").write_text(json.dumps(content))
    (folder / "digests.json").write_text(json.dumps(checkpoint.digests(folder)))
    with pytest.raises(PromptError, match=r"at data position .*5}, but step \d+ belongs to .*6}"):
        experiment.run(coop(setting), workdir)


def test_other_devices_are_reported(setting, finished, tmp_path, monkeypatch, capsys):
    workdir = copy(finished, tmp_path, done=False)
    experiment.run(coop(setting), copy(finished, tmp_path / "same", done=False))
    assert "devices" not in capsys.readouterr().out
    monkeypatch.setattr(saving, "described", lambda placement: "8 × TPU v4")
    experiment.run(coop(setting), workdir)
    assert "started on 1 × cpu, resuming on 8 × TPU v4: " in capsys.readouterr().out


def test_changed_figures_are_rejected_or_measured_again(setting, finished, tmp_path):
    workdir = copy(finished, tmp_path, done=True)
    results = (workdir / "results.json").read_text()
    changed = re.sub(r'("base": )\d', r"\g<1>9", results, count=1)
    assert changed != results
    (workdir / "results.json").write_text(changed)
    with pytest.raises(PromptError, match="its content does not match its digest"):
        experiment.run(coop(setting), workdir)
    (workdir / "results.json").unlink()
    evaluations = json.loads((workdir / "evaluations.json").read_text())
    evaluations["base"]["accuracy"] = 99.0
    for content in (json.dumps(evaluations), '{"base": {}}', "[" * 10**5, b"\xff"):
        write = Path.write_bytes if isinstance(content, bytes) else Path.write_text
        write(workdir / "evaluations.json", content)
        assert read_evaluations(workdir) == {}
    experiment.run(coop(setting), workdir)
    assert_same_outcome(workdir, finished, 6)

"""Weights & Biases, offline: logs the steps of metrics.jsonl and never stops a run."""

import importlib.util
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from experiments.configs import default
from experiments.record import tracking
from experiments.record.identity import as_json, identify
from experiments.record.log import Log
from experiments.setup import building
from prompt_jax.errors import PromptError

METRICS = {"loss": np.float32(0.5), "accuracy": np.float32(0.25), "diverged": np.int32(0)}


def identity_of(**changes):
    config = default.get_config()
    config.update(changes)
    return identify(as_json(config), "hash", None)


def log_steps(folder, first, last):
    tracker = tracking.open_tracker("wandb", identity_of(), folder)
    with Log(folder, first - 1, lambda step: 0.1, tracker) as log:
        for step in range(first, last + 1):
            log.write(step, METRICS)


def test_a_run_keeps_its_id_and_no_other_has_it(tmp_path):
    first, other = tmp_path / "first", tmp_path / "other"
    first.mkdir(), other.mkdir()
    assert tracking.run_id(first) == tracking.run_id(first) != tracking.run_id(other)


def test_a_run_is_named_after_its_identity():
    assert tracking.run_name(identity_of(seed=2)) == "pro_mpt-emoji_scenes-16shots-seed2"
    own = {"variant": "N=2", "data": {"name": "folder", "title": "birds", "shots": 4}}
    assert tracking.run_name(identity_of(**own)) == "pro_mpt-N=2-birds-4shots-seed1"


def test_a_resumed_run_is_one_run_at_wandb(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_MODE", "offline")
    log_steps(tmp_path, 1, 2)
    log_steps(tmp_path, 3, 4)
    runs = {path.name for path in (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")}
    assert runs == {f"run-{tracking.run_id(tmp_path)}.wandb"}
    assert "failed" not in capsys.readouterr().err
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 4


def test_results_are_logged_at_the_end(monkeypatch, tmp_path):
    reported = {}
    kept = SimpleNamespace(summary=reported, finish=lambda: reported.setdefault("closed", 1))
    monkeypatch.setitem(
        sys.modules, "wandb", SimpleNamespace(init=lambda **_: kept, Settings=lambda **_: None)
    )
    results = {"accuracy": {"base": 80.0}, "zero_shot": {"base": 70.0}, "h": 75.0}
    results |= {"top5": {}, "calibration_error": {"base": 4.0}}
    tracking.log_results("", identity_of(), tmp_path, results)
    assert not reported
    tracking.log_results("wandb", identity_of(), tmp_path, results)
    assert reported == {
        "test/accuracy/base": 80.0,
        "test/zero_shot/base": 70.0,
        "test/calibration_error/base": 4.0,
        "test/accuracy/h": 75.0,
        "closed": 1,
    }


class Failing:
    """A package whose server does not answer."""

    Settings = dict

    def init(self, **_):
        raise ConnectionError("no answer")


def test_training_continues_without_tracking_with_one_note(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "wandb", Failing())
    log_steps(tmp_path, 1, 3)
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "failed (ConnectionError: no answer)" in error
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 3


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    config = default.get_config()
    building.check(config)
    config.tracker = "wandb"
    with pytest.raises(PromptError, match=r"config.tracker=wandb needs the package wandb: .*wandb"):
        building.check(config)


def test_a_key_is_required_only_to_send_something(monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    keys = [False, True]
    found = SimpleNamespace(
        setup=lambda: SimpleNamespace(settings=SimpleNamespace(mode="online")),
        login=lambda prompt=True, verify=True: prompt or keys.pop(0),
    )
    monkeypatch.setitem(sys.modules, "wandb", found)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    with pytest.raises(
        PromptError, match="no API key of Weights & Biases is set; run `wandb login`"
    ):
        tracking.check("wandb")
    tracking.check("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    tracking.check("wandb")
    tracking.check("")


def test_names_of_runs_are_one_short_line():
    own = {"variant": "a\n\x1b[2J", "data": {"name": "folder", "title": "x" * 99, "shots": 4}}
    name = tracking.run_name(identity_of(**own))
    assert name.isprintable() and len(name) <= tracking.MOST_NAME


@pytest.mark.parametrize("content", [b"", b"../x", b"\xff", b"a" * 9999])
def test_an_invalid_id_file_is_replaced(tmp_path, content):
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb/run_id").write_bytes(content)
    try:
        made = tracking.run_id(tmp_path)
    except ValueError as error:  # too long to be read: opening fails, with a note
        assert "at most 100" in str(error)
    else:
        assert len(made) == 16 and tracking.run_id(tmp_path) == made

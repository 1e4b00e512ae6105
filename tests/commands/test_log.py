"""The logs of training: metrics.jsonl is a result; TensorBoard's event files are optional."""

import errno
import json
import os
import struct
import time

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import masked_crc32c

from experiments.record import events
from experiments.record.log import Log, lines_until
from prompt_jax.errors import PromptError

METRICS = {"loss": np.float32(0.5), "accuracy": np.float32(0.25), "diverged": np.int32(0)}


def log_steps(workdir, first, last):
    with Log(workdir, first - 1, lambda step: 0.1) as log:
        for step in range(first, last + 1):
            log.write(step, METRICS)


def read(path):
    """Returns the events of a file in TensorFlow's record format."""
    content, found, at = path.read_bytes(), [], 0
    while at < len(content):
        (length,) = struct.unpack_from("<Q", content, at)
        data = content[at + 12 : at + 12 + length]
        sums = struct.unpack_from("<I", content, at + 8) + struct.unpack_from(
            "<I", content, at + 12 + length
        )
        assert sums == (masked_crc32c(content[at : at + 8]), masked_crc32c(data))
        found.append(Event.FromString(data))
        at += length + 16
    return found


def test_events_are_readable_by_tensorboard(tmp_path):
    log_steps(tmp_path, 1, 2)
    (path,) = (tmp_path / "tensorboard").iterdir()
    version, start, *lines = read(path)
    assert version.file_version == "brain.Event:2"
    assert (start.step, start.session_log.status) == (1, SessionLog.START)
    assert [line.step for line in lines] == [1] * 4 + [2] * 4
    values = {line.summary.value[0].tag: line.summary.value[0].simple_value for line in lines}
    assert values["train/loss"] == 0.5 and values["train/accuracy"] == 25
    assert values.keys() >= {"train/learning_rate", "train/seconds_per_step"}
    assert abs(lines[0].wall_time - time.time()) < 60


def test_a_clock_set_back_neither_stops_training_nor_changes_the_order_of_files(
    tmp_path, monkeypatch
):
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    with Log(tmp_path, 0, lambda step: 0.1) as log:
        log.write(1, METRICS)
        monkeypatch.setattr(time, "time", lambda: now - 30 * 86400)
        for step in range(2, 40):  # more than a queue would hold
            log.write(step, METRICS)
    log_steps(tmp_path, 20, 21)
    log_steps(tmp_path, 21, 22)
    files = sorted((tmp_path / "tensorboard").iterdir())
    assert [read(path)[1].step for path in files] == [1, 20, 21]
    assert [line.step for line in read(files[0])[2:]] == [n for n in range(1, 40) for _ in range(4)]
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, 23))


def test_events_reach_the_disk_during_training(tmp_path, monkeypatch):
    monkeypatch.setattr(events, "SECONDS_BETWEEN_FLUSHES", -1.0)
    with Log(tmp_path, 0, lambda step: 0.1) as log:
        log.write(1, METRICS)
        (path,) = (tmp_path / "tensorboard").iterdir()
        assert len(read(path)) == 2 + 4


class Full:
    """A file on a full disk."""

    def write(self, *_):
        raise OSError(errno.ENOSPC, "No space left on device")

    flush = close = write


def test_training_continues_without_tensorboard_with_one_note(tmp_path, monkeypatch, capsys):
    (tmp_path / "tensorboard").write_text("a file where the folder belongs")
    log_steps(tmp_path, 1, 3)
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and f"{tmp_path / 'tensorboard'} cannot be written to" in error
    (tmp_path / "tensorboard").unlink()
    monkeypatch.setattr(events, "RecordWriter", lambda path: Full())
    log_steps(tmp_path, 4, 6)
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "(No space left on device)" in error
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 6


def test_unwritable_metrics_stop_the_run_with_a_message(tmp_path):
    match = r"metrics.jsonl cannot be written \(No space left on device\); free space"
    with (
        pytest.raises(PromptError, match=match) as stopped,
        Log(tmp_path, 0, lambda step: 0.1) as log,
    ):
        log._file.close()
        log._file = Full()
        log.write(1, METRICS)
    assert "\n" not in str(stopped.value)
    with pytest.raises(PromptError, match=r"metrics.jsonl cannot be written \(No such file or dir"):
        log_steps(tmp_path / "removed", 1, 1)


def test_a_diverged_run_gets_no_line(tmp_path):
    with Log(tmp_path, 0, lambda step: 0.1) as log:
        assert log.write(1, METRICS) == "loss 0.500"
        bad = {"loss": np.float32(np.nan), "accuracy": np.float32(0), "diverged": np.int32(2)}
        assert log.write(2, bad) == "diverged"
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1]


def test_a_damaged_line_affects_no_other(tmp_path, capsys):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n{"st\xff": 2}\n{"step": 3}\n{"step": 4, "lo')
    assert lines_until(path, 9) == ['{"step": 1}\n', '{"step": 3}\n']
    assert capsys.readouterr().out == f"note: {path}: 1 damaged line left out\n"


def test_other_names_beside_event_files_are_ignored(tmp_path):
    folder = tmp_path / "tensorboard"
    folder.mkdir()
    for name in ("9" * 200, "12x", "", "-1"):
        (folder / f"events.out.tfevents.{name}").touch()
    log_steps(tmp_path, 1, 2)
    assert len(list(folder.iterdir())) == 5
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2


def test_an_invalid_metrics_file_stops_the_run_with_a_message(tmp_path):
    os.mkfifo(tmp_path / "metrics.jsonl")
    with pytest.raises(PromptError, match="metrics.jsonl cannot be read .* regular file"):
        log_steps(tmp_path, 1, 1)

"""Weights & Biases on a terminal, in separate processes: no run waits for input or a server."""

import os
import pty
import select
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KEY = "0" * 40
TRAINS = """
import pathlib, sys
import numpy as np
from experiments.configs import default
from experiments.record import tracking
from experiments.record.identity import as_json, identify
from experiments.record.log import Log

tracking.SECONDS_AT_END = 3.0
folder = pathlib.Path(sys.argv[1])
tracking.check("wandb")
of = identify(as_json(default.get_config()), "hash", None)
metrics = {"loss": np.float32(0.5), "accuracy": np.float32(0.25), "diverged": np.int32(0)}
with Log(folder, 0, lambda step: 0.1, tracking.open_tracker("wandb", of, folder)) as log:
    for step in (1, 2, 3):
        log.write(step, metrics)
results = {"accuracy": {"test": 1.0}, "zero_shot": {}, "top5": {}, "calibration_error": {}}
tracking.log_results("wandb", of, folder, results)
print("finished")
"""


def on_a_terminal(words: list[str], home: Path, seconds: float, **more: str) -> tuple[int, str]:
    """Returns the exit code and the output of a command on a terminal.

    Nothing is typed; a command that has not ended after this many seconds fails the test.
    """
    master, slave = pty.openpty()
    here = {key: one for key, one in os.environ.items() if not key.startswith("WANDB_")}
    here |= {"HOME": str(home), "NETRC": str(home / "netrc"), "JAX_PLATFORMS": "cpu", **more}
    process = subprocess.Popen(
        [sys.executable, *words], cwd=ROOT, env=here, stdin=slave, stdout=slave, stderr=slave,
        start_new_session=True,
    )  # fmt: skip
    os.close(slave)
    shown, end = b"", time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            if select.select([master], [], [], 0.2)[0]:
                try:
                    shown += os.read(master, 4096)
                except OSError:  # all processes on the terminal have ended
                    break
        return process.wait(max(1.0, end - time.monotonic())), shown.decode(errors="replace")
    finally:
        process.kill()
        process.wait()
        os.close(master)


@pytest.mark.slow
def test_without_a_key_a_run_is_rejected_at_its_start(tmp_path):
    words = ["-m", "experiments.main", "--config=experiments/configs/images/few_shot.py:coop"]
    words += ["--config.tracker=wandb", f"--workdir={tmp_path / 'run'}"]
    code, shown = on_a_terminal(words, tmp_path, 90)
    assert code == 2, shown
    assert "no API key of Weights & Biases is set; run `wandb login`" in " ".join(shown.split())
    assert "WANDB_MODE=offline" in shown and "Traceback" not in shown
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_run_does_not_wait_for_an_unresponsive_server(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.listen(50)  # accepts connections and sends nothing
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        code, shown = on_a_terminal(
            ["-c", TRAINS, str(run)], tmp_path, 120, WANDB_BASE_URL=address, WANDB_API_KEY=KEY
        )
    assert code == 0 and "finished" in shown, shown
    assert shown.count("note: ") == 1 and "no answer within 3 s" in shown
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 3

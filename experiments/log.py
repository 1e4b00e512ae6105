"""What a run writes while it trains: metrics.jsonl and TensorBoard event files."""

import json
import pathlib
import time
from collections.abc import Callable

import jax
from tensorboardX import SummaryWriter


class Log:
    """metrics.jsonl and TensorBoard event files of a run."""

    def __init__(self, workdir: pathlib.Path, start: int, schedule: Callable):
        """Goes on after step `start`; later lines, of steps that will run again, are removed."""
        metrics = workdir / "metrics.jsonl"
        kept = lines_until(metrics, start)
        unfinished = metrics.with_suffix(".unfinished")
        unfinished.write_text("".join(kept))
        unfinished.replace(metrics)
        self._file = metrics.open("a")
        self._board = SummaryWriter(str(workdir / "tensorboard"), purge_step=start + 1)
        self._schedule = schedule
        self._last_step, self._last_time = start, time.perf_counter()

    def write(self, step: int, metrics: dict[str, jax.Array]) -> str:
        """One line of a step's metrics, none of a run that diverged; returns them in words."""
        if metrics["diverged"]:
            return "diverged"
        now = time.perf_counter()
        rate = float(self._schedule(step - 1))
        line = {
            "step": step,
            "loss": float(metrics["loss"]),
            "accuracy": 100 * float(metrics["accuracy"]),
            "learning_rate": rate,
            "seconds_per_step": (now - self._last_time) / (step - self._last_step),
        }
        self._last_step, self._last_time = step, now
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        for key, value in line.items():
            if key != "step":
                self._board.add_scalar(f"train/{key}", value, step)
        return f"loss {line['loss']:.3f}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()
        self._board.close()


def lines_until(metrics: pathlib.Path, step: int) -> list[str]:
    """The lines of metrics.jsonl up to `step`; a line that a killed process left torn ends them."""
    kept: list[str] = []
    if not metrics.exists():
        return kept
    for line in metrics.read_text().splitlines(keepends=True):
        try:
            if json.loads(line)["step"] > step:
                break
        except (ValueError, KeyError, TypeError):
            break
        kept.append(line)
    return kept

"""What a run writes while it trains: metrics.jsonl, TensorBoard event files, a tracker's lines."""

import contextlib
import json
import pathlib
import time
from collections.abc import Callable, Iterator

import jax

from experiments.record.events import Events
from experiments.record.tracking import WeightsAndBiases
from prompt_jax.errors import PromptError
from prompt_jax.files import write_text


class Log:
    """metrics.jsonl and TensorBoard event files of a run."""

    def __init__(
        self,
        workdir: pathlib.Path,
        start: int,
        schedule: Callable,
        tracker: WeightsAndBiases | None = None,
    ):
        """Goes on after step `start`; later lines, of steps that will run again, are removed.

        `tracker` gets the same as TensorBoard, and is closed with it.

        Raises:
            PromptError: metrics.jsonl, which belongs to the results, cannot be written.
        """
        self._path = workdir / "metrics.jsonl"
        with self._refusing():
            write_text(self._path, "".join(lines_until(self._path, start)))
            self._file = self._path.open("a")
        self._views: list[Events | WeightsAndBiases] = [Events(workdir / "tensorboard", start)]
        if tracker is not None:
            self._views.append(tracker)
        self._schedule = schedule
        self._last_step, self._last_time = start, time.perf_counter()

    def write(self, step: int, metrics: dict[str, jax.Array]) -> str:
        """One line of a step's metrics, none of a run that diverged; returns them in words.

        Raises:
            PromptError: the line cannot be written.
        """
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
        with self._refusing():
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
        for view in self._views:
            view.write(step, {f"train/{k}": line[k] for k in line if k != "step"})
        return f"loss {line['loss']:.3f}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):  # every line is written already, or was refused
            self._file.close()
        for view in self._views:
            view.close()

    @contextlib.contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise PromptError(
                f"{self._path} cannot be written ({error.strerror}); free space or mend the "
                "folder, then run again: it goes on"
            ) from error


def lines_until(metrics: pathlib.Path, step: int) -> list[str]:
    """The lines of metrics.jsonl up to `step`.

    The last may be torn, by a kill; of others that cannot be read, left out, it is said.
    """
    kept: list[str] = []
    if not metrics.exists():
        return kept
    damaged = 0
    lines = metrics.read_bytes().splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        try:
            if json.loads(line)["step"] > step:
                break
            kept.append(line.decode())
        except (ValueError, KeyError, TypeError, RecursionError):
            damaged += number < len(lines)
    if damaged:
        print(f"note: {metrics}: {damaged} damaged line{'s' * (damaged > 1)} left out")
    return kept

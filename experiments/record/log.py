"""The logs of a training run: metrics.jsonl, TensorBoard event files, a tracker."""

import contextlib
import io
import json
import os
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Annotated

import jax
import pydantic
from pydantic import Field

from experiments.record.events import Events
from experiments.record.tracking import WeightsAndBiases
from prompt_jax.errors import PromptError
from prompt_jax.storage.files import check, parse_json, read_bytes, write_text

MOST_BYTES = 2**27  # of metrics.jsonl
MOST_LINES, MOST_DAMAGED = 1_000_000, 1000


class Log:
    """metrics.jsonl and TensorBoard event files of a run."""

    def __init__(
        self,
        workdir: pathlib.Path,
        start: int,
        schedule: Callable,
        tracker: WeightsAndBiases | None = None,
    ):
        """Continues after step `start`; lines of later steps, which run again, are removed.

        `tracker` receives the same values as TensorBoard, and is closed with it.

        Raises:
            PromptError: metrics.jsonl cannot be written.
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
        """Writes the metrics of a step, unless it diverged; returns a summary for the terminal.

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
        with contextlib.suppress(OSError):  # every line has been flushed, or has raised
            self._file.close()
        for view in self._views:
            view.close()

    @contextlib.contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise PromptError(
                f"{self._path} cannot be written ({error.strerror}); free space or repair the "
                "directory, then run again to resume"
            ) from error
        except ValueError as error:
            raise PromptError(
                f"{self._path} cannot be read ({error}); move it away, then run again to resume"
            ) from error


class Line(pydantic.BaseModel, strict=True, extra="allow"):
    """The fields of a line of metrics.jsonl that are read; earlier versions wrote fewer."""

    step: Annotated[int, Field(ge=0, lt=2**53)]
    loss: Annotated[float, Field(allow_inf_nan=False)] | None = None
    accuracy: Annotated[float, Field(ge=0, le=100.01)] | None = None
    learning_rate: Annotated[float, Field(allow_inf_nan=False)] | None = None


def lines_until(metrics: pathlib.Path, step: int) -> list[str]:
    """Returns the lines of metrics.jsonl up to `step`.

    A killed run may leave a torn last line; other damaged lines are left out with a note.

    Raises:
        OSError, ValueError: it exists and cannot be read, is not a regular file, or too large.
    """
    kept, damaged = _read(metrics, step)
    if damaged:
        print(f"note: {metrics}: {damaged} damaged line{'s' * (damaged > 1)} left out")
    return [text for text, _ in kept]


def read(metrics: pathlib.Path) -> tuple[list[Line], int]:
    """Returns the valid lines of metrics.jsonl, and the number of others, without a torn last one.

    Raises:
        OSError, ValueError: see `lines_until`.
    """
    kept, damaged = _read(metrics, 2**53)
    return [line for _, line in kept], damaged


def _read(metrics: pathlib.Path, step: int) -> tuple[list[tuple[str, Line]], int]:
    kept: list[tuple[str, Line]] = []
    if not os.path.lexists(metrics):
        return kept, 0
    damaged = 0
    torn = 0  # whether the line before is damaged; it may be the last one
    for content in io.BytesIO(read_bytes(metrics, MOST_BYTES)):
        damaged, torn = damaged + torn, 0
        if damaged > MOST_DAMAGED or len(kept) > MOST_LINES:
            raise ValueError(
                f"it has more than {MOST_DAMAGED:,} damaged lines"
                if damaged > MOST_DAMAGED
                else f"it has more than {MOST_LINES:,} lines"
            )
        try:
            text = content.decode()
            line = check(parse_json(text), Line)
        except ValueError:
            torn = 1
            continue
        if line.step > step:
            break
        kept.append((text, line))
    return kept, damaged

"""Metrics to Weights & Biases too, where it is asked for: a view, as TensorBoard's files are."""

import contextlib
import importlib.util
import inspect
import io
import os
import pathlib
import queue
import re
import secrets
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

from prompt_jax.errors import PromptError, escape, installing
from prompt_jax.storage.files import read_bytes, write_text

PROJECT = "prompt_jax"  # WANDB_PROJECT in its place
SECONDS_AT_END = 60.0  # that a finished training waits for what is not sent yet
MOST_NAME = 128  # characters of a run's name, as the server has it
_ID = re.compile(r"[0-9a-f]{16}")
_WITHOUT_SERVER = ("offline", "disabled", "dryrun")
_OPENING = threading.Lock()  # one at a time
_FAILED: set[pathlib.Path] = set()  # folders of runs that go on without


def check(tracker: str) -> None:
    """Refuses a tracker that could not be told anything, before anything is loaded.

    Nobody is asked for a key: whoever starts a run on a terminal may be gone when that is noticed.

    Raises:
        PromptError: its package is not there, or no key for it.
    """
    if not tracker:
        return
    if importlib.util.find_spec(tracker) is None:
        raise PromptError(
            f"config.tracker={tracker} needs the package {tracker}: {installing(tracker)}"
        )
    if not _has_key():
        raise PromptError(
            f"config.tracker={tracker}: no key of Weights & Biases is here; run `wandb login`, or "
            "set WANDB_API_KEY, or WANDB_MODE=offline to keep the metrics in the run's folder; or "
            "leave config.tracker out"
        )


def _has_key() -> bool:
    """Whether wandb knows a key, or needs none; asks neither a person nor a server."""
    if os.environ.get("WANDB_MODE") in _WITHOUT_SERVER:
        return True
    try:
        import wandb

        with contextlib.redirect_stderr(io.StringIO()):  # where it found the key, and advice
            if wandb.setup().settings.mode in _WITHOUT_SERVER:
                return True
            if "prompt" in inspect.signature(wandb.login).parameters:
                return bool(wandb.login(prompt=False, verify=False))
            return bool(wandb.api.api_key)  # of earlier versions
    except Exception as error:  # of classes of its own; opening a run says what is wrong
        _say(f"whether there is a key cannot be told ({type(error).__name__}: {error})")
        return True


def open_tracker(
    name: str, of: Mapping[str, Any], folder: pathlib.Path
) -> "WeightsAndBiases | None":
    """Returns the tracker of that name, None for ""; for `of`, `folder` see `WeightsAndBiases`."""
    return WeightsAndBiases(of, folder) if name else None


def tell_results(
    name: str, of: Mapping[str, Any], folder: pathlib.Path, results: Mapping[str, Any]
) -> None:
    """Gives a finished run's figures, in percent, to the tracker that its config asks for."""
    tracker = open_tracker(name, of, folder)
    if tracker is None:
        return
    fields = ("accuracy", "zero_shot", "top5", "calibration_error")
    told = {f"test/{field}/{key}": v for field in fields for key, v in results[field].items()}
    told |= {"test/accuracy/h": results["h"]} if "h" in results else {}
    told |= {
        f"test/ranks/{key}/{way}/{metric}": value
        for key, ways in results.get("ranks", {}).items()
        for way, metrics in ways.items()
        for metric, value in metrics.items()
    }
    tracker.summarize(told)
    tracker.close()


def run_id(folder: pathlib.Path) -> str:
    """The run's own at Weights & Biases: made when it starts, and found again when it goes on."""
    path = folder / "wandb" / "run_id"
    if os.path.lexists(path):
        found = read_bytes(path, 100).decode("utf-8", "replace").strip()
        if _ID.fullmatch(found):
            return found
    path.parent.mkdir(exist_ok=True)
    write_text(path, made := secrets.token_hex(8))
    return made


def run_name(of: Mapping[str, Any]) -> str:
    """What people read there, from a run's identity."""
    data, parts = of["data"], [of["method"], of["variant"]]
    parts += [data["title"] or data["name"], f"{data['shots']}shots", f"seed{of['seed']}"]
    return escape("-".join(filter(None, parts)))[:MOST_NAME]


class WeightsAndBiases:
    """A run at Weights & Biases; what fails there is said once, and training goes on without.

    All that is told goes through a queue to a thread: training never waits for a server, and at
    its end not longer than `SECONDS_AT_END`.
    """

    def __init__(self, of: Mapping[str, Any], folder: pathlib.Path):
        """Opens it, or goes on in it.

        Args:
            of: the run's identity, see `identity.identify`.
            folder: of the run; wandb/ in it receives the files of it.
        """
        self._folder = folder
        self._run: Any = None
        self._told: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._tell_all, daemon=True)
        if folder not in _FAILED:
            self._thread.start()
            self._told.put(lambda: self._open(of, folder))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """The scalars of a step, by their names."""
        told = dict(values)
        self._told.put(lambda: self._run.log(told, step))

    def summarize(self, values: Mapping[str, float]) -> None:
        """What the run came to, by names."""
        told = dict(values)
        self._told.put(lambda: self._run.summary.update(told))

    def close(self) -> None:
        """Ends it here; it goes on when the run does."""
        if not self._thread.is_alive():
            return
        self._told.put(lambda: self._run.finish())
        self._told.put(None)
        self._thread.join(SECONDS_AT_END)
        if self._thread.is_alive():
            self._fail(f"no answer within {SECONDS_AT_END:.0f} s")

    def _tell_all(self) -> None:
        while (tell := self._told.get()) is not None:
            try:
                tell()
            except Exception as error:  # a network's, a server's or a disk's, of its own classes
                self._fail(f"{type(error).__name__}: {error}".splitlines()[0])
                return

    def _fail(self, reason: str) -> None:
        if self._folder not in _FAILED:
            _FAILED.add(self._folder)
            _say(f"failed ({reason}): the run goes on without it; metrics.jsonl has the same")

    def _open(self, of, folder):
        import wandb

        settings = wandb.Settings(silent=True, console="off", reinit="create_new")
        for name, seconds in (("init_timeout", SECONDS_AT_END), ("finish_timeout", SECONDS_AT_END)):
            if hasattr(settings, name):  # earlier versions have not all of them
                setattr(settings, name, seconds)
        with _OPENING:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", PROJECT),
                id=run_id(folder),
                name=run_name(of),
                config=dict(of),
                dir=str(folder),
                resume="allow",
                # Runs that train together are several in one process.
                settings=settings,
            )


def _say(words: str) -> None:
    print(f"note: Weights & Biases: {escape(words)}", file=sys.stderr, flush=True)

"""Optional logging to Weights & Biases, a view of the run as TensorBoard's files are."""

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

from prompt_jax.cli import hosts
from prompt_jax.errors import PromptError, escape, installing
from prompt_jax.storage.files import read_bytes, write_text

PROJECT = "prompt_jax"  # unless WANDB_PROJECT is set
SECONDS_AT_END = 60.0  # to wait for unsent data after training
MOST_NAME = 128  # characters of a run name, the limit of the server
_ID = re.compile(r"[0-9a-f]{16}")
_WITHOUT_SERVER = ("offline", "disabled", "dryrun")
_OPENING = threading.Lock()  # one at a time
_FAILED: set[pathlib.Path] = set()  # directories of runs that continue without tracking


def check(tracker: str) -> None:
    """Checks that a tracker is usable on host 0, before anything is loaded.

    Never prompts for a key: nobody may be at the terminal.

    Raises:
        PromptError: its package or its key is missing.
    """
    if not tracker or not hosts.is_first():
        return
    if importlib.util.find_spec(tracker) is None:
        raise PromptError(
            f"config.tracker={tracker} needs the package {tracker}: {installing(tracker)}"
        )
    if not _has_key():
        raise PromptError(
            f"config.tracker={tracker}: no API key of Weights & Biases is set; run `wandb login`, "
            "or set WANDB_API_KEY, or WANDB_MODE=offline to keep the metrics in the run directory, "
            "or leave config.tracker out"
        )


def _has_key() -> bool:
    """Tells whether wandb has a key, or needs none, without prompting or network."""
    if os.environ.get("WANDB_MODE") in _WITHOUT_SERVER:
        return True
    try:
        import wandb

        with contextlib.redirect_stderr(io.StringIO()):  # wandb prints hints
            if wandb.setup().settings.mode in _WITHOUT_SERVER:
                return True
            if "prompt" in inspect.signature(wandb.login).parameters:
                return bool(wandb.login(prompt=False, verify=False))
            return bool(wandb.api.api_key)  # of earlier versions
    except Exception as error:  # wandb's own classes; opening a run reports the cause
        _print_note(f"cannot determine whether a key is set ({type(error).__name__}: {error})")
        return True


def open_tracker(
    name: str, of: Mapping[str, Any], folder: pathlib.Path
) -> "WeightsAndBiases | None":
    """Returns the tracker of that name, None for ""; for `of`, `folder` see `WeightsAndBiases`."""
    return WeightsAndBiases(of, folder) if name else None


def log_results(
    name: str, of: Mapping[str, Any], folder: pathlib.Path, results: Mapping[str, Any]
) -> None:
    """Sends the results of a finished run, in percent, to the tracker of its config."""
    tracker = open_tracker(name, of, folder)
    if tracker is None:
        return
    fields = ("accuracy", "zero_shot", "top5", "calibration_error")
    values = {f"test/{field}/{key}": v for field in fields for key, v in results[field].items()}
    values |= {"test/accuracy/h": results["h"]} if "h" in results else {}
    values |= {
        f"test/ranks/{key}/{way}/{metric}": value
        for key, ways in results.get("ranks", {}).items()
        for way, metrics in ways.items()
        for metric, value in metrics.items()
    }
    tracker.summarize(values)
    tracker.close()


def run_id(folder: pathlib.Path) -> str:
    """Returns the run's id at Weights & Biases, which a resumed run keeps."""
    path = folder / "wandb" / "run_id"
    if os.path.lexists(path):
        found = read_bytes(path, 100).decode("utf-8", "replace").strip()
        if _ID.fullmatch(found):
            return found
    path.parent.mkdir(exist_ok=True)
    write_text(path, made := secrets.token_hex(8))
    return made


def run_name(of: Mapping[str, Any]) -> str:
    """Returns the display name of a run from its identity."""
    data, parts = of["data"], [of["method"], of["variant"]]
    parts += [data["title"] or data["name"], f"{data['shots']}shots", f"seed{of['seed']}"]
    return escape("-".join(filter(None, parts)))[:MOST_NAME]


class WeightsAndBiases:
    """A run at Weights & Biases; a failure is reported once, and training continues without it.

    A thread sends everything from a queue: training never waits for the server, and at its end at
    most `SECONDS_AT_END`.
    """

    def __init__(self, of: Mapping[str, Any], folder: pathlib.Path):
        """Opens or resumes the run.

        Args:
            of: the run's identity, see `identity.identify`.
            folder: the run directory; wandb writes to wandb/ in it.
        """
        self._folder = folder
        self._run: Any = None
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._send_all, daemon=True)
        if folder not in _FAILED:
            self._thread.start()
            self._queue.put(lambda: self._open(of, folder))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Logs scalars of a step."""
        values = dict(values)
        self._queue.put(lambda: self._run.log(values, step))

    def summarize(self, values: Mapping[str, float]) -> None:
        """Logs the results of the run."""
        values = dict(values)
        self._queue.put(lambda: self._run.summary.update(values))

    def close(self) -> None:
        """Closes the run; a resumed run opens it again."""
        if not self._thread.is_alive():
            return
        self._queue.put(lambda: self._run.finish())
        self._queue.put(None)
        self._thread.join(SECONDS_AT_END)
        if self._thread.is_alive():
            self._fail(f"no answer within {SECONDS_AT_END:.0f} s")

    def _send_all(self) -> None:
        while (send := self._queue.get()) is not None:
            try:
                send()
            except Exception as error:  # of network, server or disk, wandb's own classes
                self._fail(f"{type(error).__name__}: {error}".splitlines()[0])
                return

    def _fail(self, reason: str) -> None:
        if self._folder not in _FAILED:
            _FAILED.add(self._folder)
            _print_note(
                f"failed ({reason}): the run continues without it; metrics.jsonl has the same"
            )

    def _open(self, of, folder):
        import wandb

        settings = wandb.Settings(silent=True, console="off", reinit="create_new")
        for name, seconds in (("init_timeout", SECONDS_AT_END), ("finish_timeout", SECONDS_AT_END)):
            if hasattr(settings, name):  # earlier versions lack some
                setattr(settings, name, seconds)
        with _OPENING:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", PROJECT),
                id=run_id(folder),
                name=run_name(of),
                config=dict(of),
                dir=str(folder),
                resume="allow",
                # Seeds that train in parallel are several runs in one process.
                settings=settings,
            )


def _print_note(words: str) -> None:
    print(f"note: Weights & Biases: {escape(words)}", file=sys.stderr, flush=True)

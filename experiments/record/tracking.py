"""Metrics to Weights & Biases too, where it is asked for: a view, as TensorBoard's files are."""

import importlib.util
import os
import pathlib
import secrets
import sys
from collections.abc import Callable, Mapping
from typing import Any

from prompt_jax.errors import PromptError, installing

TRACKERS = ("", "wandb")
PROJECT = "prompt_jax"  # WANDB_PROJECT in its place


def check_installed(tracker: str) -> None:
    """Raises a PromptError if a tracker's package is not there."""
    if tracker and importlib.util.find_spec(tracker) is None:
        raise PromptError(
            f"config.tracker={tracker} needs the package {tracker}: {installing(tracker)}"
        )


def open_tracker(
    name: str, of: Mapping[str, Any], folder: pathlib.Path
) -> "WeightsAndBiases | None":
    """The tracker that a config asks for, one of `TRACKERS`; of a run, see `WeightsAndBiases`."""
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
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.write_text(secrets.token_hex(8))
    return path.read_text().strip()


def run_name(of: Mapping[str, Any]) -> str:
    """What people read there, from a run's identity."""
    data, parts = of["data"], [of["method"], of["variant"]]
    parts += [data["title"] or data["name"], f"{data['shots']}shots", f"seed{of['seed']}"]
    return "-".join(filter(None, parts))


class WeightsAndBiases:
    """A run at Weights & Biases; what fails there is said once, and training goes on without."""

    def __init__(self, of: Mapping[str, Any], folder: pathlib.Path):
        """Opens it, or goes on in it.

        Args:
            of: the run's identity, see `identity.identify`.
            folder: of the run; wandb/ in it receives the files of it.
        """
        self._run: Any = None
        self._attempt(self._open, of, folder)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """The scalars of a step, by their names."""
        if self._run is not None:
            self._attempt(self._run.log, dict(values), step)

    def summarize(self, values: Mapping[str, float]) -> None:
        """What the run came to, by names."""
        if self._run is not None:
            self._attempt(self._run.summary.update, dict(values))

    def close(self) -> None:
        """Ends it here; it goes on when the run does."""
        if self._run is not None:
            self._attempt(self._run.finish)
        self._run = None

    def _open(self, of, folder):
        import wandb

        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=run_id(folder),
            name=run_name(of),
            config=dict(of),
            dir=str(folder),
            resume="allow",
            # Runs that train together are several in one process.
            settings=wandb.Settings(silent=True, console="off", reinit="create_new"),
        )

    def _attempt(self, function: Callable[..., Any], *args: Any) -> None:
        try:
            function(*args)
        except Exception as error:  # a network's, a server's or a disk's, of classes of its own
            self._run = None
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            print(
                f"note: Weights & Biases failed ({reason}): training goes on without it; "
                "metrics.jsonl has the same",
                file=sys.stderr,
                flush=True,
            )

"""Trains a run, with log and checkpoints in the run directory."""

import functools
import pathlib
from typing import Any

from experiments.config.config import Config
from experiments.record.identity import refuse_other_run
from experiments.record.log import Log
from experiments.record.tracking import open_tracker
from experiments.record.workdir import refuse_removed
from experiments.setup.preparation import Prepared
from prompt_jax.cli import hosts
from prompt_jax.training import compile_times, loop, recipes
from prompt_jax.training.loop import Trained
from prompt_jax.training.saving import Saving


def fit(run: Prepared) -> Trained:
    """Trains to the last step, from the newest checkpoint in the run directory if there is one.

    Writes checkpoints/, metrics.jsonl and tensorboard/. Donates the arrays of `run.prompts`, which
    cannot be used afterwards.

    Raises:
        PromptError: the checkpoint belongs to another run, or training diverged.
        KeyboardInterrupt: on Ctrl-C or SIGTERM, after a checkpoint was written.
    """
    assert run.shots is not None
    return loop.fit(
        run.method,
        run.task,
        run.config.recipe,
        run.prompts,
        run.shots.batches,
        run.shots.steps_per_epoch,
        run.placement,
        loop.Options(
            rate(run.config),
            functools.partial(open_log, run),
            run.config.log_every,
            saving(run.config, run.identity, run.folder),
            compiling=compile_times.describe(run.config.method, run.task.clip),
        ),
        place=run.placement.split,
    )


def open_log(run: Prepared, start: int) -> loop.Log:
    """Returns the log of a run that starts after step `start`; of host 0 alone."""
    if not hosts.is_first():
        return loop.Quiet()
    assert run.shots is not None
    config = run.config
    schedule = recipes.build_schedule(
        config.recipe, config.learning_rate, run.shots.steps_per_epoch
    )
    tracker = open_tracker(config.tracker, run.identity, run.folder)
    return Log(run.folder, start, schedule, tracker)


def saving(config: Config, identity: dict[str, Any], folder: pathlib.Path) -> Saving:
    """Returns the options for checkpoints in the run directory `folder`."""
    return Saving(
        folder / "checkpoints",
        identity,
        refuse_other_run,
        config.checkpoint_every,
        "--workdir",
        functools.partial(refuse_removed, folder),
    )


def rate(config: Config) -> str:
    """Returns the learning rate as a field with its value, for messages."""
    return f"config.learning_rate={config.learning_rate:g}"

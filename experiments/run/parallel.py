"""Trains runs that differ only in seed and learning rate in one program.

They share the frozen backbone, and small batches do not use a GPU fully, so several runs take
little longer than one. Each has its own shots, batches, prompts and optimizer, and gets the same
results as a separate run. On a CPU the frames of a single batch of videos already keep all cores
busy, so there the runs are computed one after another within each step.
"""

import contextlib
import dataclasses
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from data_pipelines.errors import DataError
from experiments.cli import memory
from experiments.config.config import Config
from experiments.record import identity, workdir
from experiments.run import experiment, training
from experiments.setup.loading import finished, load
from experiments.setup.preparation import Prepared, prepare
from prompt_jax.cli import hosts
from prompt_jax.clip.packing import PackedTokens, stack
from prompt_jax.errors import PromptError
from prompt_jax.training import compile_times, loop, recipes, saving, train
from prompt_jax.training.checkpoint import Checkpoints
from prompt_jax.training.loop import Trained


def run(
    configs: Mapping[pathlib.Path, Config],
) -> tuple[list[dict[str, Any]], dict[pathlib.Path, str]]:
    """Trains all runs together, then tests each; each has its own run directory.

    Finished or trained runs are not trained again.

    Args:
        configs: config of each run, by run directory; they differ in seed and learning rate.

    Returns:
        The results in order, and the errors of failed runs by directory. A run that diverges or
        cannot be tested does not stop the others.

    Raises:
        PromptError, DataError: a run cannot be prepared.
    """
    results: dict[pathlib.Path, dict[str, Any]] = {}
    failed: dict[pathlib.Path, str] = {}

    def attempt(folder, function, *args):
        try:
            with workdir.release_on_error(folder), memory.explain_out_of_memory(configs[folder]):
                results[folder] = function(*args)
        except (PromptError, DataError) as error:
            if hosts.count() > 1:
                raise  # see `sweep.run`
            failed[folder] = str(error)

    prepared: list[Prepared] = []
    backbone = None
    for folder, config in configs.items():
        loaded = load(config, folder, backbone)
        backbone = loaded.backbone  # shared by the next runs
        if there := finished(loaded):
            results[folder] = there
            continue
        one = prepare(loaded)
        backbone = one.backbone  # on the devices
        if not one.shots or not one.trainable or _is_trained(one):
            attempt(folder, experiment.complete, one)
        else:
            prepared.append(one)
    if len(prepared) == 1:
        attempt(prepared[0].folder, experiment.complete, prepared[0])
    elif prepared:
        try:
            with memory.explain_out_of_memory(prepared[0].config):
                ended = fit(prepared)
        except (PromptError, DataError) as error:
            if hosts.count() > 1:
                raise
            failed |= {one.folder: str(error) for one in prepared}
            ended = []
            for one in prepared:
                workdir.unclaim(one.folder)
        for one, trained in zip(prepared, ended, strict=False):
            if isinstance(trained, str):
                failed[one.folder] = trained
                workdir.unclaim(one.folder)
            else:
                attempt(one.folder, experiment.finish, one, trained)
    return [results[folder] for folder in configs if folder in results], failed


def _total(one: Prepared) -> int:
    assert one.shots is not None
    return one.config.epochs * one.shots.steps_per_epoch


def _is_trained(one: Prepared) -> bool:
    with contextlib.closing(Checkpoints(one.folder / "checkpoints")) as checkpoints:
        return checkpoints.latest() is not None


def fit(runs: list[Prepared]) -> list[Trained | str]:
    """Trains runs together and writes the last checkpoint to each run directory.

    Returns:
        The result of each run, or the error message if it diverged; then it has no checkpoint.

    Raises:
        PromptError: the numbers of training images differ between seeds, or all runs diverged.
    """
    first = runs[0]
    shots = [one.shots for one in runs if one.shots]
    steps = {each.steps_per_epoch for each in shots}
    if len(steps) > 1:
        raise PromptError(
            f"config.parallel_seeds=True: the seeds have {sorted(steps)} steps per epoch, because "
            "their numbers of training images differ; set it to False"
        )
    method, config = first.method, first.config
    in_turn = first.plan.train.kind == "videos" and jax.default_backend() == "cpu"
    step = train.make_parallel_step(method, lambda rate: _optimizer(first, rate), in_turn)
    rates = jnp.asarray([one.config.learning_rate for one in runs], jnp.float32)
    states = [train.init_state(one.prompts, _optimizer(one)) for one in runs]
    batches = Together([each.batches for each in shots])
    names = "-".join(str(one.config.seed) for one in runs)
    common = first.folder.parent / f"together-{names}"
    if hosts.is_first():
        workdir.make_workdir(common)
        workdir.lock(common)
    users = 1 if in_turn else len(runs)
    task = dataclasses.replace(first.task, clip=first.task.clip.share_memory(users))
    with (
        workdir.release_on_error(common),
        first.plan.listing_all_bad(),
        contextlib.closing(batches),
    ):
        end = loop.run(
            lambda state, batch: step(state, task, first.placement.split_runs(batch), rates),
            first.placement.replicate(jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)),
            batches,
            _total(first),
            first.placement,
            loop.Options(
                training.rate(config),
                lambda start: Logs([training.open_log(one, start) for one in runs]),
                config.log_every,
                training.saving(
                    config, identity.of_several([one.identity for one in runs]), common
                ),
                compiling=compile_times.describe(config.method, task.clip),
            ),
        )
        end = end._replace(together=len(runs))
        pairs = zip(runs, shots, strict=True)
        records = [
            saving.record_of(one.identity, each.batches, end, one.placement) for one, each in pairs
        ]
    trained: list[Trained | str] = []
    for number, (one, record) in enumerate(zip(runs, records, strict=True)):
        state = jax.tree.map(lambda leaf, number=number: leaf[number], end.state)
        state = one.placement.replicate(state)
        if state.diverged:
            trained.append(loop.diverged(int(state.diverged), training.rate(one.config)))
            continue
        workdir.refuse_removed(one.folder)
        with contextlib.closing(Checkpoints(one.folder / "checkpoints")) as checkpoints:
            checkpoints.save(_total(one), state, record)
        trained.append(loop.trained_by(method, end._replace(state=state)))
    workdir.release(common)
    if hosts.is_first():
        shutil.rmtree(common)  # each run has its own last checkpoint now
    return trained


def _optimizer(one: Prepared, rate: jax.Array | None = None):
    assert one.shots is not None
    settings, steps = one.task.settings, one.shots.steps_per_epoch
    return recipes.build_optimizer(
        one.config.recipe, one.method, one.prompts, settings, steps, rate
    )


class Together:
    """Stacked batches of several runs: {"image": [R, B, …], "label": [R, B]}."""

    def __init__(self, runs: list[Any]):
        """Takes one iterator of batches per run."""
        self._runs = runs

    def __next__(self) -> dict[str, np.ndarray]:
        batches = [next(run) for run in self._runs]
        return {key: _stacked([batch[key] for batch in batches]) for key in batches[0]}

    def get_state(self) -> dict[str, Any]:
        """Returns the position of each run."""
        return {"runs": [run.get_state() for run in self._runs]}

    def state_after(self, batches: int) -> dict[str, Any]:
        """Returns the position of each run after `batches` batches."""
        return {"runs": [run.state_after(batches) for run in self._runs]}

    def set_state(self, state: dict[str, Any]) -> None:
        """Resumes at these positions."""
        for run, position in zip(self._runs, state["runs"], strict=True):
            run.set_state(position)

    def close(self) -> None:
        """Stops the reading threads."""
        for run in self._runs:
            run.close()


def _stacked(parts: list[Any]) -> Any:
    return stack(parts) if isinstance(parts[0], PackedTokens) else np.stack(parts)


class Logs:
    """The logs of several runs."""

    def __init__(self, logs: list[loop.Log]):
        """Takes one log per run."""
        self._logs = logs

    def write(self, step: int, metrics: dict[str, jax.Array]) -> str:
        """Writes a line to the log of each run; returns a summary for the progress bar."""
        return ", ".join(
            log.write(step, {key: value[number] for key, value in metrics.items()})
            for number, log in enumerate(self._logs)
        )

    def __enter__(self):
        return self

    def __exit__(self, *details):
        for log in self._logs:
            log.__exit__(*details)

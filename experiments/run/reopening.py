"""A finished run again: its data, its tasks, and the prompts that it left."""

import contextlib
import pathlib
from typing import Any

from ml_collections import ConfigDict

from experiments.record import workdir
from experiments.record.identity import refuse_other_results, refuse_other_run
from experiments.run import choosing, preparation, training
from experiments.run.preparation import Prepared
from prompt_jax import train
from prompt_jax.checkpoint import Checkpoints
from prompt_jax.errors import PromptError
from prompt_jax.methods import Prompts


def reopen(folder: pathlib.Path) -> tuple[Prepared, Prompts]:
    """A finished run as it was before its training, and the prompts that it tested.

    Nothing is written. Data and backbone must be there as they were.

    Args:
        folder: of the run.

    Raises:
        PromptError: no run is finished there, or backbone or data are not those it had.
        DataError: data is missing.
    """
    results = workdir.read_results(folder)
    if results is None:
        raise PromptError(f"{folder} holds no results.json: no run is finished there")
    loaded = preparation.load(_config(results["config"]), folder)
    plan = loaded.plan
    identity = loaded.identity(plan.hashes)
    refuse_other_results(folder, identity, results)
    run = preparation.with_tasks(loaded, plan, identity)
    if run.method.from_shots:
        run = preparation.with_shots(run)
    prompts, _ = choosing.choose(run, _restore(run))
    return run, prompts


def _config(content: dict[str, Any]) -> ConfigDict:
    """A config from what results.json says of it, where tuples are lists."""

    def back(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: back(one) for key, one in value.items()}
        return tuple(map(back, value)) if isinstance(value, list) else value

    return ConfigDict(back(content))


def _restore(run: Prepared) -> Prompts:
    """The prompts of a run's last checkpoint; those it starts with where nothing trains."""
    if not run.trainable:
        return run.prompts
    making = run.plan.batches
    steps = making.train_steps(making.train_examples(run.plan.train))
    optimizer, _ = training.build_optimizer(
        run.config, run.method, run.prompts, run.task.settings, steps
    )
    with contextlib.closing(Checkpoints(run.folder / "checkpoints")) as checkpoints:
        total = run.config.epochs * steps
        if checkpoints.latest() != total:
            raise PromptError(
                f"{checkpoints.folder} holds no checkpoint of the last step, {total}: its prompts "
                "are gone; train the run again in another folder"
            )
        state, _ = checkpoints.restore(
            total,
            train.init_state(run.prompts, optimizer),
            lambda record: refuse_other_run(checkpoints.folder, run.identity, record["identity"]),
        )
    return run.placement.replicate(training.result(run.method, state))

"""The training loop of a run: steps, log lines, checkpoints, and going on after a stop."""

import contextlib
import pathlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.config.config import Config
from experiments.record.identity import refuse_other_run
from experiments.record.log import Log
from experiments.record.tracking import open_tracker
from experiments.record.workdir import refuse_removed
from prompt_jax.cli import progress
from prompt_jax.cli.interrupts import StopRequest
from prompt_jax.errors import PromptError
from prompt_jax.inputs.training_batches import TrainingBatches
from prompt_jax.methods import Method, Prompts, Task
from prompt_jax.training import recipes, train
from prompt_jax.training.checkpoint import Checkpoints
from prompt_jax.training.sharding import Placement


class Trained(NamedTuple):
    """What training leaves, and what it took, over all restarts.

    Attributes:
        prompts: the result: of the last step, or averaged over epochs.
        seconds: compilation included.
        images: gone through.
        waiting: of the seconds, those in which the device had nothing to do until the next batch
            was there; an upper bound.
        together: how many runs trained in one program; seconds and images are then of all.
    """

    prompts: Prompts
    seconds: float
    images: int
    waiting: float = 0.0
    together: int = 1


def fit(
    config: Config,
    identity: dict[str, Any],
    method: Method,
    task: Task,
    prompts: Prompts,
    batches: TrainingBatches,
    steps_per_epoch: int,
    placement: Placement,
    workdir: pathlib.Path,
) -> Trained:
    """Trains to the last step, from the newest checkpoint in `workdir` if there is one.

    Args:
        config: the experiment.
        identity: what must agree for a checkpoint to be continued (config and backbone).
        method, task: what trains, on which classes.
        prompts: where it starts; its arrays are donated, and gone afterwards.
        batches: training batches with a position that can be saved.
        steps_per_epoch: for the schedule.
        placement: where arrays live.
        workdir: receives checkpoints/, metrics.jsonl and tensorboard/.

    Raises:
        PromptError: the checkpoint there is another run's, or training diverged.
        KeyboardInterrupt: on Ctrl-C or SIGTERM, after a checkpoint was written.
    """
    if not recipes.count_trainable(method, prompts, task.settings):
        return Trained(prompts, 0.0, 0)
    optimizer, schedule = recipes.build_optimizer(
        config.recipe, method, prompts, task.settings, steps_per_epoch
    )
    step = train.make_step(method, optimizer)

    def open_log(start):
        tracker = open_tracker(config.tracker, identity, workdir)
        return Log(workdir, start, schedule, tracker)

    end = run_steps(
        config,
        identity,
        lambda state, batch: step(state, task, placement.split(batch)),
        placement.replicate(train.init_state(prompts, optimizer)),
        batches,
        config.epochs * steps_per_epoch,
        placement,
        workdir,
        open_log,
    )
    return trained_by(method, end)


def diverged(config: Config, step: int, saved: int = 0) -> str:
    """What is said of a training that diverged at a step, when that of `saved` was kept."""
    kept = ""
    if saved:
        kept = (
            f"; the checkpoint of step {saved} is from before it. A lower rate is another run, "
            "which needs another --workdir"
        )
    return (
        f"training diverged at step {step}: its loss, prompts or optimizer state are no finite "
        f"numbers any more; lower config.learning_rate={config.learning_rate:g}{kept}"
    )


def refuse_diverged(config: Config, found: jax.Array, saved: int) -> None:
    """Raises a PromptError if training diverged; of runs trained together, if all of them did.

    Args:
        config: the experiment.
        found: int32[] or [R], `State.diverged`.
        saved: step of the last checkpoint, 0 for none.
    """
    steps = np.atleast_1d(np.asarray(found))
    if steps.all():
        raise PromptError(diverged(config, int(steps.min()), saved))


class End(NamedTuple):
    """Where `run_steps` ended: the last state, and what it took over all restarts."""

    state: train.State
    seconds: float
    images: int
    waiting: float
    together: int = 1


def trained_by(method: Method, end: End) -> Trained:
    """What a training that ended so leaves."""
    return Trained(train.result(method, end.state), *end[1:])


def run_steps(
    config: Config,
    identity: dict[str, Any],
    step_fn: Callable[[train.State, Any], tuple[train.State, dict[str, jax.Array]]],
    state: train.State,
    batches: Any,
    total: int,
    placement: Placement,
    workdir: pathlib.Path,
    open_log: Callable[[int], Any],
) -> End:
    """The loop: steps, log lines, checkpoints, and going on after a stop.

    Args:
        config: says how often to log and to write checkpoints.
        identity: what must agree for a checkpoint to be continued.
        step_fn: (state, batch) -> (state, metrics).
        state: where it starts; donated.
        batches: `Batches`, or what has `next`, `get_state` and `set_state` like it.
        total: steps in all.
        placement: where a restored state lives.
        workdir: receives checkpoints/.
        open_log: gives the `Log`, or what writes like it, that goes on after a step.
    """
    with contextlib.closing(Checkpoints(workdir / "checkpoints")) as checkpoints:
        start = saved = checkpoints.latest() or 0
        before = End(state, 0.0, 0, 0.0)
        if start:
            before = resume(checkpoints, start, identity, state, batches, placement)
        if start >= total:
            return before
        if start:
            batches.set_state(batches.state_after(start))
            print(f"going on from step {start} of {total} in {workdir}")
        state, images, waiting = before.state, before.images, before.waiting
        began = time.perf_counter()

        def end():
            seconds = before.seconds + time.perf_counter() - began
            return End(state, seconds, images, waiting, before.together)

        def save(step):
            nonlocal saved
            refuse_diverged(config, state.diverged, saved)
            refuse_removed(workdir)
            checkpoints.save(step, state, record_of(identity, batches, end(), placement))
            saved = step

        with (
            open_log(start) as log,
            progress.bar("training", total, start) as advance,
            StopRequest() as stop,
        ):
            for step in range(start + 1, total + 1):
                asked = time.perf_counter()
                try:
                    batch = next(batches)
                except Exception:  # what cannot be read shall cost no step that is done
                    if saved < step - 1:
                        save(step - 1)
                    raise
                # A step that still runs by now did not wait.
                if step > start + 1 and state.step.is_ready():  # type: ignore[attr-defined]
                    waiting += time.perf_counter() - asked
                images += batch["label"].size
                state, metrics = step_fn(state, batch)
                stop.step_done()
                if step % config.log_every == 0 or step == total:
                    refuse_diverged(config, metrics["diverged"], saved)
                    advance(step, log.write(step, metrics))
                if step % config.checkpoint_every == 0 or step == total or stop.asked:
                    save(step)
                if stop.asked:
                    raise KeyboardInterrupt(
                        f"stopped after step {step} of {total}; run again to go on"
                    )
            jax.block_until_ready(state)
        return end()


def resume(
    checkpoints: Checkpoints,
    step: int,
    identity: dict[str, Any],
    state: train.State,
    batches: Any,
    placement: Placement,
) -> End:
    """What a run had reached when its checkpoint of `step` was written.

    Raises:
        PromptError: the checkpoint is damaged, is another run's, or its data position is not that
            of its step.
    """
    restored, record = checkpoints.restore(
        step,
        state,
        lambda record: refuse_other_run(checkpoints.folder, identity, record["identity"]),
    )
    expected = batches.state_after(step)
    if record["position"] != expected:
        raise PromptError(
            f"the checkpoint {checkpoints.folder}/{step} stands at {record['position']} in its "
            f"data, where its step is at {expected}; delete that folder, or use another workdir"
        )
    here, there = described(placement), record["devices"]
    if here != there:
        print(f"begun on {there}, going on with {here}: its numbers are rounded differently")
    spent = (record[field] for field in ("seconds", "pictures", "waiting", "together"))
    return End(placement.replicate(restored), *spent)


def record_of(
    identity: dict[str, Any], batches: Any, end: End, placement: Placement
) -> dict[str, Any]:
    """What stands beside a checkpoint's arrays."""
    return {
        "identity": identity,
        "position": batches.get_state(),
        "devices": described(placement),
        "seconds": end.seconds,
        "pictures": end.images,
        "waiting": end.waiting,
        "together": end.together,
    }


def described(placement: Placement) -> str:
    """The devices of a run, in words: other ones round differently."""
    kind = jax.devices()[0].device_kind
    return f"{placement.devices} × {kind}"

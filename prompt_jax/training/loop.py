"""Runs the training loop for `fit`, experiments, parallel runs and the choice of settings."""

import contextlib
import dataclasses
import pathlib
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import jax
import numpy as np
import optax

from prompt_jax.cli import hosts, progress
from prompt_jax.cli.interrupts import StopRequest
from prompt_jax.errors import PromptError
from prompt_jax.inputs.training_batches import TrainingBatches
from prompt_jax.mesh import describe
from prompt_jax.methods import Method, Prompts, Task
from prompt_jax.methods.recipe import Recipe
from prompt_jax.training import recipes, train
from prompt_jax.training.sharding import Placement

if TYPE_CHECKING:
    from prompt_jax.training.checkpoint import Checkpoints

Metrics = dict[str, jax.Array]
StepFn = Callable[[train.State, Any], tuple[train.State, Metrics]]


class Log(Protocol):
    """Receives the metrics of every `log_every`-th step; a context manager."""

    def write(self, step: int, metrics: Metrics) -> str:
        """Writes the metrics of a step; returns a summary for the progress bar."""

    def __enter__(self) -> Any: ...

    def __exit__(self, *details: Any) -> Any: ...


class Quiet(contextlib.AbstractContextManager):
    """A log that writes nothing."""

    def write(self, step: int, metrics: Metrics) -> str:
        """Returns the loss for the progress bar."""
        del step
        return f"loss {float(metrics['loss']):.3f}"

    def __exit__(self, *details: Any) -> None:
        pass


@dataclasses.dataclass(frozen=True)
class Saving:
    """Options for checkpoints.

    Attributes:
        directory: directory of the checkpoints.
        identity: identity of the run, saved as JSON with each checkpoint.
        accept: (directory, identity of the run, identity in a checkpoint) -> None; raises a
            PromptError if these are different runs.
        every: steps between checkpoints; another one is written at the end.
        flag: the flag or argument that sets the directory, for messages.
        before: called before a checkpoint is written.
    """

    directory: pathlib.Path
    identity: dict[str, Any]
    accept: Callable[[pathlib.Path, dict[str, Any], dict[str, Any]], None]
    every: int
    flag: str
    before: Callable[[], None] = lambda: None


class End(NamedTuple):
    """The state at the end of training, with totals over all restarts.

    Attributes:
        state: the last state.
        seconds: training time, including compilation.
        images: number of training images processed.
        waiting: seconds in which the device waited for the next batch; an upper bound.
        together: number of runs that were trained in one program; `seconds` and `images` are
            totals over these runs.
    """

    state: train.State
    seconds: float = 0.0
    images: int = 0
    waiting: float = 0.0
    together: int = 1


class Trained(NamedTuple):
    """The trained prompts, of the last step or averaged over epochs; other fields as in `End`."""

    prompts: Prompts
    seconds: float = 0.0
    images: int = 0
    waiting: float = 0.0
    together: int = 1


def trained_by(method: Method, end: End) -> Trained:
    """Returns the trained prompts and totals of a finished training."""
    return Trained(train.result(end.state), *end[1:])


def init_prompts(method: Method, task: Task, seed: int) -> Prompts:
    """Returns the initial prompts of a seed."""
    return jax.jit(method.init)(jax.random.key(seed), task)


def fit(
    method: Method,
    task: Task,
    recipe: Recipe,
    prompts: Prompts,
    batches: TrainingBatches,
    steps_per_epoch: int,
    placement: Placement,
    place: Callable[[Any], Any] | None = None,
    open_log: Callable[[int, optax.Schedule], Log] = lambda start, schedule: Quiet(),
    **options: Any,
) -> Trained:
    """Trains prompts by a recipe; resumes from the newest checkpoint if there is one.

    Args:
        method, task: the method, and its task on the training classes.
        recipe: learning rate, epochs and optimizer.
        prompts: initial prompts; their arrays are donated.
        batches: training batches.
        steps_per_epoch: for the schedule.
        placement: placement of arrays on devices.
        place: puts a host batch on the devices; by default `placement.place`.
        open_log: (step to resume after, learning rate by step) -> `Log`.
        options: further options of `run`.

    Raises:
        PromptError: the checkpoint is damaged or belongs to another run, or training diverged.
        KeyboardInterrupt: with `saving`, on Ctrl-C or SIGTERM, after a checkpoint was written.
    """
    if not recipes.count_trainable(method, prompts, task.settings):
        return Trained(prompts)
    optimizer, schedule = recipes.build_optimizer(
        recipe, method, prompts, task.settings, steps_per_epoch
    )
    step, place = train.make_step(method, optimizer), place or placement.place
    end = run(
        lambda state, batch: step(state, task, place(batch)),
        placement.replicate(train.init_state(prompts, optimizer)),
        batches,
        recipe.epochs * steps_per_epoch,
        placement,
        open_log=lambda start: open_log(start, schedule),
        **options,
    )
    return trained_by(method, end)


def run(
    step_fn: StepFn,
    state: train.State,
    batches: TrainingBatches,
    total: int,
    placement: Placement,
    *,
    rate: str,
    open_log: Callable[[int], Log] = lambda start: Quiet(),
    log_every: int = 20,
    saving: Saving | None = None,
    title: str = "training",
    compiling: str = "",
) -> End:
    """Runs training steps with logs and checkpoints; resumes from the newest checkpoint.

    Args:
        step_fn: (state, batch) -> (state, metrics).
        state: initial state; donated. For several runs its arrays have a leading axis over runs.
        batches: training batches.
        total: total number of steps.
        placement: placement of a restored state.
        rate: the learning rate for messages, e.g. "config.learning_rate=0.002".
        open_log: (step to resume after) -> `Log`.
        log_every: steps between log lines; another one is written at the end.
        saving: options for checkpoints; None writes none and does not handle Ctrl-C.
        title: title of the progress bar; "" shows none.
        compiling: printed before the first step, see `compile_times.describe`; "" prints nothing.

    Raises:
        PromptError: see `fit`.
    """
    with contextlib.ExitStack() as stack:
        start, before, checkpoints = 0, End(state), None
        if saving is not None:
            # Imported here because importing orbax takes half a second.
            from prompt_jax.training.checkpoint import Checkpoints

            checkpoints = stack.enter_context(contextlib.closing(Checkpoints(saving.directory)))
            start = checkpoints.latest() or 0
            if start:
                before = resume(checkpoints, saving, start, state, batches, placement)
        if start >= total:
            return before
        if saving and start:
            batches.set_state(batches.state_after(start))
            print(f"resuming from step {start} of {total} in {saving.directory.parent}")
        state, images, waiting, saved = before.state, before.images, before.waiting, start
        began = time.perf_counter()

        def refuse_diverged(found: jax.Array) -> None:
            steps = np.atleast_1d(np.asarray(found))
            if steps.all():  # runs trained together stop only if all have diverged
                flag = saving.flag if saving else ""
                raise PromptError(diverged(int(steps.min()), rate, saved, flag))

        def end() -> End:
            seconds = before.seconds + time.perf_counter() - began
            return End(state, seconds, images, waiting, before.together)

        def save(step: int) -> None:
            nonlocal saved
            if saving is None or checkpoints is None:
                return
            refuse_diverged(state.diverged)
            saving.before()
            record = record_of(saving.identity, batches, end(), placement)
            checkpoints.save(step, state, record)
            saved = step

        if compiling:
            print(compiling, file=sys.stderr, flush=True)
        log = stack.enter_context(open_log(start))
        bar = progress.bar(title, total, start) if title else progress.silence()
        advance, words = stack.enter_context(bar), ""
        stop = stack.enter_context(StopRequest()) if saving else None
        for step in range(start + 1, total + 1):
            asked = time.perf_counter()
            try:
                batch = next(batches)
            except Exception:  # an unreadable example must not lose finished steps
                if saved < step - 1:
                    save(step - 1)
                raise
            # The device waits only if the last step is finished.
            if step > start + 1 and state.step.is_ready():  # type: ignore[attr-defined]
                waiting += time.perf_counter() - asked
            images += batch["label"].size * placement.share[1]
            state, metrics = step_fn(state, batch)
            if stop:
                stop.step_done()
            if step % log_every == 0 or step == total:
                refuse_diverged(metrics["diverged"])
                words = log.write(step, metrics)
            advance(step, words)
            asked_to_stop = stop is not None and hosts.stop_together(stop.asked)
            if saving and (step % saving.every == 0 or step == total or asked_to_stop):
                save(step)
            if asked_to_stop:
                raise KeyboardInterrupt(
                    f"stopped after step {step} of {total}; run again to resume"
                )
        jax.block_until_ready(state)
        return end()


def diverged(step: int, rate: str, saved: int = 0, flag: str = "") -> str:
    """Returns the error message for a training that diverged.

    Args:
        step: the first step with values that are not finite.
        rate: as in `run`.
        saved: step of the last checkpoint; 0 for none.
        flag: the flag or argument that sets its directory.
    """
    kept = ""
    if saved:
        kept = (
            f"; the checkpoint of step {saved} is still valid. A run with a lower rate needs "
            f"another {flag}"
        )
    return (
        f"training diverged at step {step}: its loss, prompts or optimizer state became NaN or "
        f"infinite; lower {rate}{kept}"
    )


def resume(
    checkpoints: "Checkpoints",
    saving: Saving,
    step: int,
    state: train.State,
    batches: TrainingBatches,
    placement: Placement,
) -> End:
    """Returns state and totals from the checkpoint of `step`.

    Raises:
        PromptError: the checkpoint is damaged or belongs to another run, or its data position does
            not match its step.
    """
    restored, record = checkpoints.restore(
        step,
        state,
        lambda record: saving.accept(checkpoints.folder, saving.identity, record["identity"]),
    )
    expected = batches.state_after(step)
    if record["position"] != expected:
        raise PromptError(
            f"the checkpoint {checkpoints.folder}/{step} was saved at data position "
            f"{record['position']}, but step {step} belongs to {expected}; delete that directory, "
            f"or use another {saving.flag}"
        )
    here, there = described(placement), record["devices"]
    if here != there:
        print(f"started on {there}, resuming on {here}: results may differ by rounding")
    spent = (record[field] for field in ("seconds", "pictures", "waiting", "together"))
    return End(placement.replicate(restored), *spent)


def record_of(
    identity: dict[str, Any], batches: TrainingBatches, end: End, placement: Placement
) -> dict[str, Any]:
    """Returns the record that is saved with a checkpoint's arrays."""
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
    """Returns number and kind of a run's devices, for messages and checkpoints."""
    kind = jax.devices()[0].device_kind
    mesh = "" if placement.model == 1 else f" as {describe(placement.data, placement.model)}"
    return f"{placement.devices} × {kind}{mesh}"

"""Runs the training loop for `fit`, experiments, parallel runs and the choice of settings."""

import contextlib
import dataclasses
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from prompt_jax.cli import hosts, interrupts, progress
from prompt_jax.cli.interrupts import StopRequest
from prompt_jax.errors import PromptError
from prompt_jax.inputs.training_batches import TrainingBatches
from prompt_jax.methods import Method, Prompts, Task
from prompt_jax.methods.recipe import Recipe
from prompt_jax.training import recipes, train
from prompt_jax.training.saving import End, Saving, record_of, resume
from prompt_jax.training.sharding import Placement

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


@dataclasses.dataclass(frozen=True)
class Options:
    """How a training is logged, shown and saved.

    Attributes:
        rate: the learning rate for messages, e.g. "config.learning_rate=0.002".
        open_log: (step to resume after) -> `Log`.
        log_every: steps between log lines; another one is written at the end.
        saving: options for checkpoints; None writes none and does not handle Ctrl-C.
        title: title of the progress bar; "" shows none.
        compiling: printed before the first step, see `compile_times.describe`; "" prints nothing.
    """

    rate: str
    open_log: Callable[[int], Log] = lambda start: Quiet()
    log_every: int = 20
    saving: Saving | None = None
    title: str = "training"
    compiling: str = ""


def fit(
    method: Method,
    task: Task,
    recipe: Recipe,
    prompts: Prompts,
    batches: TrainingBatches,
    steps_per_epoch: int,
    placement: Placement,
    options: Options,
    place: Callable[[Any], Any] | None = None,
) -> Trained:
    """Trains prompts by a recipe; resumes from the newest checkpoint if there is one.

    Args:
        method, task: the method, and its task on the training classes.
        recipe: learning rate, epochs and optimizer.
        prompts: initial prompts; their arrays are donated.
        batches: training batches.
        steps_per_epoch: for the schedule.
        placement: placement of arrays on devices.
        options: logs and checkpoints.
        place: puts a host batch on the devices; by default `placement.place`.

    Raises:
        PromptError: the checkpoint is damaged or belongs to another run, or training diverged.
        KeyboardInterrupt: with `saving`, on Ctrl-C or SIGTERM, after a checkpoint was written.
    """
    if not recipes.count_trainable(method, prompts, task.settings):
        return Trained(prompts)
    optimizer = recipes.build_optimizer(recipe, method, prompts, task.settings, steps_per_epoch)
    step, place = train.make_step(method, optimizer), place or placement.place
    end = run(
        lambda state, batch: step(state, task, place(batch)),
        placement.replicate(train.init_state(prompts, optimizer)),
        batches,
        recipe.epochs * steps_per_epoch,
        placement,
        options,
    )
    return trained_by(method, end)


def run(
    step_fn: StepFn,
    state: train.State,
    batches: TrainingBatches,
    total: int,
    placement: Placement,
    options: Options,
) -> End:
    """Runs training steps with logs and checkpoints; resumes from the newest checkpoint.

    Args:
        step_fn: (state, batch) -> (state, metrics).
        state: initial state; donated. For several runs its arrays have a leading axis over runs.
        batches: training batches.
        total: total number of steps.
        placement: placement of a restored state.
        options: logs and checkpoints.

    Raises:
        PromptError: see `fit`.
    """
    saving = options.saving
    with contextlib.ExitStack() as stack:
        training = stack.enter_context(_Training(state, batches, placement, options))
        start = training.resume()
        if start >= total:
            return training.before
        if saving and start:
            batches.set_state(batches.state_after(start))
            print(f"resuming from step {start} of {total} in {saving.directory.parent}")
        if options.compiling and hosts.is_first():
            print(options.compiling, file=sys.stderr, flush=True)
        log = stack.enter_context(options.open_log(start))
        bar = progress.bar(options.title, total, start) if options.title else progress.silence()
        advance, words = stack.enter_context(bar), ""
        stop = stack.enter_context(StopRequest()) if saving else None
        before = None
        for step in range(start + 1, total + 1):
            metrics = training.take(step_fn, step)
            # Steps are dispatched before they are computed: shown are computed ones, while the
            # next one is computed. The first is waited for, as it is compiled.
            shown = metrics if before is None or step == total else before
            jax.block_until_ready(shown)
            before = metrics
            if stop:
                stop.step_done()
            if step % options.log_every == 0 or step == total:
                training.refuse_diverged(metrics["diverged"])
                words = log.write(step, metrics)
            advance(step if shown is metrics else step - 1, words or _first(step, start, options))
            should_stop = stop is not None and hosts.agree_to_stop(stop.requested)
            if saving and (step % saving.every == 0 or step == total or should_stop):
                training.save(step)
            if should_stop:
                raise KeyboardInterrupt(
                    f"stopped after step {step} of {total}; run again to resume"
                )
        jax.block_until_ready(training.state)
        return training.end()


def _first(step: int, start: int, options: Options) -> str:
    return "the first step, with compiling" if step == start + 1 and options.compiling else ""


class _Training(contextlib.AbstractContextManager):
    """The state of a running training with its totals and checkpoints.

    Attributes:
        state: the state after the last step.
        before: the end of the training that is resumed.
    """

    def __init__(
        self,
        state: train.State,
        batches: TrainingBatches,
        placement: Placement,
        options: Options,
    ):
        self.state, self.before = state, End(state)
        self._batches, self._placement, self._options = batches, placement, options
        self._images, self._waiting, self._saved = 0, 0.0, 0
        self._checkpoints = options.saving.open() if options.saving else None
        self._began = time.perf_counter()

    def __exit__(self, *details: Any) -> None:
        if self._checkpoints:
            self._checkpoints.close()

    def resume(self) -> int:
        """Restores the newest checkpoint and returns its step; 0 if there is none."""
        saving, checkpoints = self._options.saving, self._checkpoints
        start = checkpoints.latest() if checkpoints else None
        if saving and checkpoints and start:
            self.before = resume(
                checkpoints, saving, start, self.state, self._batches, self._placement
            )
            self.state, _, self._images, self._waiting, _ = self.before
            self._saved = start
            interrupts.record_saved()
        self._began = time.perf_counter()
        return self._saved

    def take(self, step_fn: StepFn, step: int) -> Metrics:
        """Reads a batch and takes a step; returns its metrics."""
        asked = time.perf_counter()
        try:
            batch = next(self._batches)
        except Exception:  # an unreadable example must not lose finished steps
            if self._saved < step - 1 and hosts.count() == 1:  # all hosts would have to save
                self.save(step - 1)
            raise
        # The device waits only if the last step is finished.
        if self.state is not self.before.state and self.state.step.is_ready():  # type: ignore[attr-defined]
            self._waiting += time.perf_counter() - asked
        self._images += batch["label"].size * self._placement.share[1]
        self.state, metrics = step_fn(self.state, batch)
        return metrics

    def refuse_diverged(self, found: jax.Array) -> None:
        """Raises a PromptError if all runs that are trained together have diverged."""
        steps = np.atleast_1d(np.asarray(found))
        if steps.all():
            saving = self._options.saving
            flag = saving.flag if saving else ""
            raise PromptError(diverged(int(steps.min()), self._options.rate, self._saved, flag))

    def end(self) -> End:
        """Returns the state and the totals after the last step."""
        seconds = self.before.seconds + time.perf_counter() - self._began
        return End(self.state, seconds, self._images, self._waiting, self.before.together)

    def save(self, step: int) -> None:
        """Writes a checkpoint, if checkpoints are written."""
        saving = self._options.saving
        if saving is None or self._checkpoints is None:
            return
        self.refuse_diverged(self.state.diverged)
        saving.before()
        record = record_of(saving.identity, self._batches, self.end(), self._placement)
        self._checkpoints.save(step, self.state, record)
        self._saved = step
        interrupts.record_saved()


def diverged(step: int, rate: str, saved: int = 0, flag: str = "") -> str:
    """Returns the error message for a training that diverged.

    Args:
        step: the first step with values that are not finite.
        rate: as in `Options`.
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

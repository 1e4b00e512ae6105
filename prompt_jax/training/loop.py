"""The training loop of `fit`, experiments, runs trained together and the choice of settings."""

import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import jax
import numpy as np
import optax

from prompt_jax.cli import progress
from prompt_jax.cli.interrupts import StopRequest
from prompt_jax.errors import PromptError
from prompt_jax.inputs.training_batches import TrainingBatches
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
        """Writes the metrics of a step; returns them in words, for the progress bar."""

    def __enter__(self) -> Any: ...

    def __exit__(self, *details: Any) -> Any: ...


class Quiet(contextlib.AbstractContextManager):
    """A log that writes nothing."""

    def write(self, step: int, metrics: Metrics) -> str:
        """Returns the loss in words."""
        del step
        return f"loss {float(metrics['loss']):.3f}"

    def __exit__(self, *details: Any) -> None:
        pass


@dataclasses.dataclass(frozen=True)
class Saving:
    """Where and how often checkpoints are written, and which are accepted.

    Attributes:
        directory: of the checkpoints.
        identity: what must agree for a checkpoint to be continued, kept beside it as JSON.
        accept: (the directory, identity here, identity of a checkpoint) -> None; raises a
            PromptError if they are different runs.
        every: steps between checkpoints; one more is written at the end.
        flag: what the user gives the directory by, for messages.
        before: called before a checkpoint is written.
    """

    directory: pathlib.Path
    identity: dict[str, Any]
    accept: Callable[[pathlib.Path, dict[str, Any], dict[str, Any]], None]
    every: int
    flag: str
    before: Callable[[], None] = lambda: None


class End(NamedTuple):
    """The last state of a training, and what it took over all restarts.

    Attributes:
        state: the last one.
        seconds: compilation included.
        images: gone through.
        waiting: of the seconds, those in which the device had nothing to do until the next batch
            was there; an upper bound.
        together: how many runs trained in one program; seconds and images are then of all.
    """

    state: train.State
    seconds: float = 0.0
    images: int = 0
    waiting: float = 0.0
    together: int = 1


class Trained(NamedTuple):
    """The result of a training, of the last step or averaged over epochs; the rest as of `End`."""

    prompts: Prompts
    seconds: float = 0.0
    images: int = 0
    waiting: float = 0.0
    together: int = 1


def trained_by(method: Method, end: End) -> Trained:
    """Returns the result of a training that ended so."""
    return Trained(train.result(end.state), *end[1:])


def init_prompts(method: Method, task: Task, seed: int) -> Prompts:
    """Returns the prompts that a training of a seed starts from."""
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
    """Trains prompts as a recipe says, from the newest checkpoint if there is one.

    Args:
        method, task: what trains, on which classes.
        recipe: rates, epochs and optimizer; a config of experiments has the same fields.
        prompts: to start from; their arrays are donated.
        batches: training batches.
        steps_per_epoch: for the schedule.
        placement: where arrays live.
        place: puts a host batch on the devices; by default split over them, if its
            size allows it.
        open_log: (step to resume after, learning rate by step) -> `Log`.
        options: of `run`.

    Raises:
        PromptError: the checkpoint is another run's or damaged, or training diverged.
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
) -> End:
    """Takes steps, writes log lines and checkpoints, and resumes from the newest checkpoint.

    Args:
        step_fn: (state, batch) -> (state, metrics).
        state: to start from; donated. With several runs its arrays have a leading axis over runs.
        batches: training batches.
        total: steps in all.
        placement: where a restored state lives.
        rate: the learning rate as the user gives it, for messages.
        open_log: (step to resume after) -> `Log`.
        log_every: steps between its lines; one more is written at the end.
        saving: None writes no checkpoint, and leaves Ctrl-C as it is.
        title: of the progress bar; "" shows none.

    Raises:
        PromptError: see `fit`.
    """
    with contextlib.ExitStack() as stack:
        start, before, checkpoints = 0, End(state), None
        if saving is not None:
            # Imported here: orbax takes half a second, and training without checkpoints needs none.
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
            if steps.all():  # of runs trained together, if all of them did
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
            # If the last step is still running, the device did not wait.
            if step > start + 1 and state.step.is_ready():  # type: ignore[attr-defined]
                waiting += time.perf_counter() - asked
            images += batch["label"].size
            state, metrics = step_fn(state, batch)
            if stop:
                stop.step_done()
            if step % log_every == 0 or step == total:
                refuse_diverged(metrics["diverged"])
                words = log.write(step, metrics)
            advance(step, words)
            asked_to_stop = stop is not None and stop.asked
            if saving and (step % saving.every == 0 or step == total or asked_to_stop):
                save(step)
            if asked_to_stop:
                raise KeyboardInterrupt(
                    f"stopped after step {step} of {total}; run again to resume"
                )
        jax.block_until_ready(state)
        return end()


def diverged(step: int, rate: str, saved: int = 0, flag: str = "") -> str:
    """Returns the message of a training that diverged at a step.

    Args:
        step: the first one whose numbers were not finite.
        rate: the learning rate as the user gives it.
        saved: step of the last checkpoint, 0 for none.
        flag: what the user gives its directory by.
    """
    kept = ""
    if saved:
        kept = (
            f"; the checkpoint of step {saved} is from before it. A lower rate is another run, "
            f"which needs another {flag}"
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
        PromptError: the checkpoint is damaged, is another run's, or its data position is not that
            of its step.
    """
    restored, record = checkpoints.restore(
        step,
        state,
        lambda record: saving.accept(checkpoints.folder, saving.identity, record["identity"]),
    )
    expected = batches.state_after(step)
    if record["position"] != expected:
        raise PromptError(
            f"the checkpoint {checkpoints.folder}/{step} is at {record['position']} in its "
            f"data, where its step is at {expected}; delete that directory, or use another "
            f"{saving.flag}"
        )
    here, there = described(placement), record["devices"]
    if here != there:
        print(f"started on {there}, resuming on {here}: results may differ by rounding")
    spent = (record[field] for field in ("seconds", "pictures", "waiting", "together"))
    return End(placement.replicate(restored), *spent)


def record_of(
    identity: dict[str, Any], batches: TrainingBatches, end: End, placement: Placement
) -> dict[str, Any]:
    """Returns the record that is kept beside a checkpoint's arrays."""
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
    """Returns the devices of a run in words."""
    kind = jax.devices()[0].device_kind
    return f"{placement.devices} × {kind}"

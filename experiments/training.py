"""The training loop of a run: steps, log lines, checkpoints, and going on after a stop."""

import contextlib
import json
import pathlib
import signal
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from ml_collections import ConfigDict
from tensorboardX import SummaryWriter

from data_pipelines.reading import Batches
from experiments import progress
from prompt_jax import optim, train
from prompt_jax.checkpoint import Checkpoints
from prompt_jax.errors import PromptError
from prompt_jax.methods import Method, Prompts, Task
from prompt_jax.sharding import Placement

# Fields that say how a run is watched, not what it computes: they may change between restarts.
FREE_FIELDS = (
    "log_every",
    "checkpoint_every",
    "eval_batch_size",
    "data.num_threads",
    "data.num_workers",
    "data.on_bad_image",
    "data.root",
)
# What a person names a run by, and so wants to read first.
# In cross-dataset and domain generalization these are targets: more of them can be tested later.
TARGETS = "data.names"
NAMING_FIELDS = ("method", "backbone.source", "backbone.hash", "data.name", "protocol", "seed")
SHOWN_DIFFERENCES = 4


class Trained(NamedTuple):
    """What training leaves, and what it took, over all restarts.

    Attributes:
        prompts: the result: of the last step, or averaged over epochs.
        seconds: compilation included.
        pictures: gone through.
        waiting: of the seconds, those in which the device had nothing to do until the next batch
            was there; an upper bound.
    """

    prompts: Prompts
    seconds: float
    pictures: int
    waiting: float = 0.0


def differences(here: dict, there: dict, prefix: str = "") -> list[str]:
    """The fields in which two configs disagree, as "field: here, there (there)"."""
    found = []
    for key in sorted(set(here) | set(there)):
        path, a, b = prefix + key, here.get(key), there.get(key)
        if path in (*FREE_FIELDS, TARGETS) or a == b:
            continue
        if isinstance(a, dict) and isinstance(b, dict):
            found += differences(a, b, path + ".")
        else:
            found.append(f"{path}: {a!r} here, {b!r} there")
    return found


def as_json(config: ConfigDict) -> dict[str, Any]:
    """A config as it looks after being written and read: lists where it has tuples."""
    return json.loads(json.dumps(config.to_dict()))


def identify(config: dict, fingerprint: str, train_pictures: int) -> dict[str, Any]:
    """What makes a run this one: config, what its backbone held, how many pictures it trains on."""
    backbone = {"source": config["backbone"], "hash": fingerprint}
    return {**config, "backbone": backbone, "train_pictures": train_pictures}


def refuse_other_run(folder: pathlib.Path, here: dict, there: dict) -> None:
    """Raises a PromptError if what lies in `folder` was made by another config or backbone."""

    def rank(difference):
        field = difference.split(":")[0]
        return NAMING_FIELDS.index(field) if field in NAMING_FIELDS else len(NAMING_FIELDS)

    found = sorted(differences(here, there), key=rank)
    if found:
        more = len(found) - SHOWN_DIFFERENCES
        shown = "; ".join(found[:SHOWN_DIFFERENCES]) + (f"; and {more} more" if more > 0 else "")
        raise PromptError(
            f"{folder} holds another run ({shown}); use another --workdir, or delete that folder "
            "if you no longer need it"
        )


def build_optimizer(
    config: ConfigDict, method: Method, prompts: Prompts, settings: Any, steps_per_epoch: int
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """The optimizer of a config and its learning rate by step."""
    if config.schedule == "coop":
        schedule = optim.coop_schedule(config.learning_rate, config.epochs, steps_per_epoch)
    else:
        schedule = optim.cosine_schedule(config.learning_rate, config.epochs * steps_per_epoch)
    trains = method.trains(prompts, settings)
    if config.optimizer == "sgd":
        optimizer = optim.sgd(schedule, trains, config.momentum, config.weight_decay)
    else:
        optimizer = optim.adamw(schedule, trains, config.weight_decay, config.adam_epsilon)
    if method.epoch_weights:
        weights = method.epoch_weights(settings, config.epochs)
        optimizer = optim.average_epochs(optimizer, weights, steps_per_epoch)
    return optimizer, schedule


def count_trainable(method: Method, prompts: Prompts, settings: Any) -> int:
    """How many numbers train."""
    trains = jax.tree.leaves(method.trains(prompts, settings))
    leaves = jax.tree.leaves(prompts)
    return sum(leaf.size for leaf, trained in zip(leaves, trains, strict=True) if trained)


def fit(
    config: ConfigDict,
    identity: dict[str, Any],
    method: Method,
    task: Task,
    prompts: Prompts,
    batches: Batches,
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
        PromptError: the checkpoint there is another run's.
        KeyboardInterrupt: on Ctrl-C or SIGTERM, after a checkpoint was written.
    """
    if not count_trainable(method, prompts, task.settings):
        return Trained(prompts, 0.0, 0)
    total = config.epochs * steps_per_epoch
    optimizer, schedule = build_optimizer(config, method, prompts, task.settings, steps_per_epoch)
    state = placement.replicate(train.init_state(prompts, optimizer))

    step_fn = train.make_step(method, optimizer)
    with contextlib.closing(Checkpoints(workdir / "checkpoints")) as checkpoints:
        start = checkpoints.latest() or 0
        seconds_before, pictures, waiting = 0.0, 0, 0.0
        if start:
            record = checkpoints.record(start)
            refuse_other_run(checkpoints.folder, identity, record["identity"])
            state = placement.replicate(checkpoints.restore(start, state))
            seconds_before, pictures = record["seconds"], record["pictures"]
            waiting = record["waiting"]
            if start < total:
                batches.set_state(record["position"])
                print(f"going on from step {start} of {total} in {workdir}")

        began = time.perf_counter()

        def seconds():
            return seconds_before + time.perf_counter() - began

        def save(step):
            record: dict[str, Any] = {"identity": identity, "position": batches.get_state()}
            record |= {"seconds": seconds(), "pictures": pictures, "waiting": waiting}
            checkpoints.save(step, state, record)

        if start < total:
            with (
                Log(workdir, start, schedule) as log,
                progress.bar("training", total, start) as advance,
                StopRequest() as stop,
            ):
                for step in range(start + 1, total + 1):
                    asked = time.perf_counter()
                    batch = next(batches)
                    # A step that still runs by now did not wait.
                    if step > start + 1 and state.step.is_ready():
                        waiting += time.perf_counter() - asked
                    pictures += len(batch["label"])
                    state, metrics = step_fn(state, task, placement.split(batch))
                    if step % config.log_every == 0 or step == total:
                        advance(step, log.write(step, metrics))
                    if step % config.checkpoint_every == 0 or step == total or stop.asked:
                        save(step)
                    if stop.asked:
                        raise KeyboardInterrupt(
                            f"stopped after step {step} of {total}; run again to go on"
                        )
                jax.block_until_ready(state)
        averaged = method.epoch_weights is not None
        result = state.optimizer.average if averaged else state.prompts
        return Trained(result, seconds(), pictures, waiting)


class Log:
    """metrics.jsonl and TensorBoard event files of a run."""

    def __init__(self, workdir: pathlib.Path, start: int, schedule: Callable):
        """Goes on after step `start`; later lines, of steps that will run again, are removed."""
        metrics = workdir / "metrics.jsonl"
        kept = lines_until(metrics, start)
        unfinished = metrics.with_suffix(".unfinished")
        unfinished.write_text("".join(kept))
        unfinished.replace(metrics)
        self._file = metrics.open("a")
        self._board = SummaryWriter(str(workdir / "tensorboard"), purge_step=start + 1)
        self._schedule = schedule
        self._last_step, self._last_time = start, time.perf_counter()

    def write(self, step: int, metrics: dict[str, jax.Array]) -> str:
        """One line of a step's metrics; returns them in words."""
        now = time.perf_counter()
        rate = float(self._schedule(step - 1))
        line = {
            "step": step,
            "loss": float(metrics["loss"]),
            "accuracy": 100 * float(metrics["accuracy"]),
            "learning_rate": rate,
            "seconds_per_step": (now - self._last_time) / (step - self._last_step),
        }
        self._last_step, self._last_time = step, now
        if not np.isfinite(line["loss"]):
            raise PromptError(
                f"the loss is {line['loss']} at step {step}: training diverged; lower "
                f"config.learning_rate (at this step the schedule gave {rate:g})"
            )
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        for key, value in line.items():
            if key != "step":
                self._board.add_scalar(f"train/{key}", value, step)
        return f"loss {line['loss']:.3f}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()
        self._board.close()


def lines_until(metrics: pathlib.Path, step: int) -> list[str]:
    """The lines of metrics.jsonl up to `step`; a line that a killed process left torn ends them."""
    kept: list[str] = []
    if not metrics.exists():
        return kept
    for line in metrics.read_text().splitlines(keepends=True):
        try:
            if json.loads(line)["step"] > step:
                break
        except (ValueError, KeyError, TypeError):
            break
        kept.append(line)
    return kept


class StopRequest:
    """Turns Ctrl-C and SIGTERM into a request that the loop answers between two steps."""

    def __init__(self):
        """Nothing asked yet."""
        self.asked = False

    def __enter__(self):
        def ask(number, frame):
            del number, frame
            self.asked = True

        # Signals reach the main thread alone; elsewhere (notebooks' workers) there is none to set.
        try:
            self._before = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:
            self._before = {}
        return self

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)

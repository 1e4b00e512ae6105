"""Saves and resumes a training: its state, its totals and its position in the data."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax

from prompt_jax.errors import PromptError
from prompt_jax.inputs.training_batches import TrainingBatches
from prompt_jax.mesh import describe
from prompt_jax.training import train
from prompt_jax.training.sharding import Placement

if TYPE_CHECKING:
    from prompt_jax.training.checkpoint import Checkpoints


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

    def open(self) -> "Checkpoints":
        """Opens the directory of checkpoints."""
        # Imported here because importing orbax takes half a second.
        from prompt_jax.training.checkpoint import Checkpoints

        return Checkpoints(self.directory)


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

"""Checkpoints of what trains: a pytree of arrays and a JSON record beside it, by orbax."""

import pathlib
from typing import Any

import jax
import orbax.checkpoint as ocp

from prompt_jax.errors import PromptError


class Checkpoints:
    """The checkpoints of one run; the newest `keep` of them stay on disk."""

    def __init__(self, folder: pathlib.Path, keep: int = 1):
        """Opens, and if need be makes, the folder."""
        self.folder = pathlib.Path(folder).absolute()
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, create=True, enable_async_checkpointing=False
        )
        self._manager = ocp.CheckpointManager(self.folder, options=options)

    def latest(self) -> int | None:
        """The newest complete step, or None."""
        return self._manager.latest_step()

    def save(self, step: int, state: Any, record: dict) -> None:
        """Writes arrays and record; a run that dies midway leaves the one before untouched."""
        args = ocp.args.Composite(
            state=ocp.args.StandardSave(state), record=ocp.args.JsonSave(record)
        )
        self._manager.save(step, args=args)

    def record(self, step: int) -> dict:
        """The JSON record of a step.

        Raises:
            PromptError: the checkpoint is damaged.
        """
        return self._read(step, "record", ocp.args.JsonRestore())

    def restore(self, step: int, like: Any) -> Any:
        """The arrays of a step, with the structure, shapes and placement of `like`.

        Raises:
            PromptError: the checkpoint is damaged, or holds another tree than `like`.
        """
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        return self._read(step, "state", ocp.args.StandardRestore(target))

    def _read(self, step, item, how):
        try:
            return self._manager.restore(step, args=ocp.args.Composite(**{item: how}))[item]
        except Exception as error:  # orbax raises plain Exception for a lost array
            reason = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
            raise PromptError(
                f"the checkpoint {self.folder}/{step} cannot be read: files of it are missing or "
                "damaged, or its arrays are those of other settings; delete that folder to start "
                f"this run again, or use another workdir ({reason})"
            ) from error

    def close(self) -> None:
        """Waits for writing to end."""
        self._manager.close()

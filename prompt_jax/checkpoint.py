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
        """The JSON record of a step."""
        args = ocp.args.Composite(record=ocp.args.JsonRestore())
        return self._manager.restore(step, args=args)["record"]

    def restore(self, step: int, like: Any) -> Any:
        """The arrays of a step, with the structure, shapes and placement of `like`.

        Raises:
            PromptError: the checkpoint holds another tree than `like`.
        """
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        args = ocp.args.Composite(state=ocp.args.StandardRestore(target))
        try:
            return self._manager.restore(step, args=args)["state"]
        except (ValueError, KeyError, TypeError) as error:
            raise PromptError(
                f"the checkpoint {self.folder}/{step} does not fit this run: it was written by "
                "another method, backbone or setting; use another workdir or delete that folder "
                f"({str(error).splitlines()[0]})"
            ) from error

    def close(self) -> None:
        """Waits for writing to end."""
        self._manager.close()

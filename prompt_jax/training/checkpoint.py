"""Writes and reads checkpoints of the trainable state: arrays, by orbax, and a JSON record.

Files can be corrupted silently. So each checkpoint lists the SHA-256 of its files, and files that
do not match are not restored.

`orbax.checkpoint.CheckpointManager` is not used: it publishes a step before all of its files can be
listed, so a killed process could leave a complete step without digests. It also skips existing
steps, which a run that resumes from an older step must replace.
"""

import contextlib
import hashlib
import json
import logging
import os
import pathlib
import re
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import jax
import orbax.checkpoint as ocp

from prompt_jax.cli import hosts
from prompt_jax.errors import PromptError
from prompt_jax.storage.files import UNFINISHED, sync_folder, write_text

DIGESTS, RECORD, STATE = "digests.json", "record.json", "state"
LONGEST_REASON = 150
METADATA = 2**16  # bytes, more than orbax adds to the arrays


class Checkpoints:
    """The checkpoints of one run, a directory per step; the newest `keep` of them stay on disk.

    Attributes:
        folder: absolute path of the directory.
    """

    def __init__(self, folder: pathlib.Path, keep: int = 2):
        """Opens the directory, creates it if it is missing, and removes unfinished checkpoints.

        Args:
            folder: path of the directory.
            keep: number of checkpoints to keep; two, in case the newest is damaged later.
        """
        self.folder = pathlib.Path(folder).absolute()
        self._keep = keep
        self._arrays = ocp.Checkpointer(ocp.StandardCheckpointHandler())
        if hosts.is_first():
            self.folder.mkdir(parents=True, exist_ok=True)
            self._remove_unfinished()

    def steps(self) -> list[int]:
        """Returns the steps of the complete checkpoints, oldest first."""
        names = (path.name for path in self.folder.iterdir())
        return sorted(int(name) for name in names if re.fullmatch(r"[1-9][0-9]{0,17}", name))

    def latest(self) -> int | None:
        """Returns the newest complete step, or None; the same on all hosts."""
        return hosts.from_first("latest checkpoint", self._newest)

    def _newest(self) -> int | None:
        return max(self.steps(), default=None)

    def save(self, step: int, state: Any, record: dict) -> None:
        """Writes arrays and record atomically; an interrupted write keeps the last checkpoint.

        With several hosts all call it; each writes its part of the arrays, host 0 the rest.

        Raises:
            PromptError: the files cannot be written, e.g. because the disk is full.
        """
        unfinished, final = self.folder / f"{step}{UNFINISHED}", self.folder / str(step)
        with _without_logs():
            try:
                if hosts.is_first():
                    unfinished.mkdir()
                    _reserve(unfinished, sum(leaf.nbytes for leaf in jax.tree.leaves(state)))
                hosts.gather("checkpoint begun", step)
                self._arrays.save(unfinished / STATE, args=ocp.args.StandardSave(state))
                if hosts.is_first():
                    content = {"record": record, "arrays": shapes_of(state)}
                    write_text(unfinished / RECORD, json.dumps(content, indent=1) + "\n")
                    listed = json.dumps(digests(unfinished), indent=1) + "\n"
                    write_text(unfinished / DIGESTS, listed)
                failure = None
            except Exception as error:  # orbax has no error class for disk failures
                failure = error
        if failure is not None:
            if not isinstance(failure, OSError):
                hosts.await_lost_host()
            self._remove_unfinished()
            last = self._newest()
            where = "starts again" if last is None else f"resumes from step {last}, which is kept"
            reason = getattr(failure, "strerror", None) or str(failure) or type(failure).__name__
            raise PromptError(
                f"the checkpoint {final} cannot be written "
                f"({reason.splitlines()[0][:LONGEST_REASON]}); free space or repair the directory, "
                f"then run again: it {where}"
            )
        if hosts.is_first():
            if final.exists():
                shutil.rmtree(final)
            unfinished.rename(final)
            sync_folder(self.folder)
            for old in self.steps()[: -self._keep]:
                shutil.rmtree(self.folder / str(old))
        hosts.gather("checkpoint done", step)

    def restore(
        self, step: int, like: Any, accept: Callable[[dict], None] | None = None
    ) -> tuple[Any, dict]:
        """Returns the arrays and the record of a step, as they were saved.

        Args:
            step: one of `steps`.
            like: a pytree with the structure, shapes and sharding of the arrays to restore.
            accept: called with the record before the arrays are read; raises if it belongs to
                another run.

        Raises:
            PromptError: a file is missing or damaged, or the arrays do not have the paths, dtypes
                and shapes of `like`. The message names the newest intact older step.
        """
        folder = self.folder / str(step)
        damage = damage_of(folder)
        if damage:
            raise self._rejection(step, damage)
        content = json.loads((folder / RECORD).read_text())
        record, there, here = content["record"], content["arrays"], shapes_of(like)
        if accept is not None:
            accept(record)
        # Checked here, because each of orbax's threads would print its own error.
        other = [name for name in {**here, **there} if here.get(name) != there.get(name)]
        if other:
            shown = f"{other[0]} is {there.get(other[0])} there, {here.get(other[0])} here"
            raise self._rejection(step, f"its arrays belong to other settings ({shown})")
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        args = ocp.args.StandardRestore(target)
        return self._arrays.restore(folder / STATE, args=args), record

    def _rejection(self, step, damage):
        """Returns the error for a step that cannot be restored, with what to do about it."""
        older = (n for n in reversed(self.steps()) if n < step)
        whole = next((n for n in older if not damage_of(self.folder / str(n))), None)
        instead = "start this run again"
        if whole is not None:
            instead = f"resume from step {whole}, whose checkpoint is intact"
        return PromptError(
            f"the checkpoint {self.folder}/{step} cannot be read: {damage}; delete that directory "
            f"to {instead}, or use another workdir"
        )

    def _remove_unfinished(self):
        for path in self.folder.glob(f"*{UNFINISHED}"):
            shutil.rmtree(path, ignore_errors=True)

    def close(self) -> None:
        """Waits until everything is written."""
        self._arrays.close()


def shapes_of(state: Any) -> dict[str, str]:
    """Returns dtype and shape of each array of a pytree by its path: "float32[4, 512]"."""
    return {
        jax.tree_util.keystr(path): f"{leaf.dtype}{list(leaf.shape)}"
        for path, leaf in jax.tree.leaves_with_path(state)
    }


def damage_of(folder: pathlib.Path) -> str:
    """Returns a description of damaged files of a checkpoint; "" if all are as saved."""
    try:
        listed = dict(json.loads((folder / DIGESTS).read_text()))
    except FileNotFoundError:
        return f"it has no {DIGESTS}, so it is damaged, or written by an earlier version"
    except (OSError, ValueError, TypeError, RecursionError):
        return f"its {DIGESTS} is damaged"
    try:
        found = digests(folder)
    except OSError as error:
        return f"{error.filename} cannot be read ({error.strerror})"
    wrong = sorted(name for name in {**listed, **found} if listed.get(name) != found.get(name))
    if not wrong:
        return ""
    more = f" and {len(wrong) - 1} more of its files" if len(wrong) > 1 else ""
    return f"{wrong[0]}{more} missing or not as saved"


def digests(folder: pathlib.Path) -> dict[str, str]:
    """Returns the SHA-256 of every file of a checkpoint, by its path in the directory."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if name != DIGESTS:
            with path.open("rb") as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _reserve(folder: pathlib.Path, size: int) -> None:
    """Raises an OSError if `size` bytes do not fit, before orbax's threads fail one by one."""
    trial = folder / "trial"
    with trial.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size + METADATA)
    trial.unlink()


@contextlib.contextmanager
def _without_logs() -> Iterator[None]:
    """Silences orbax's logs, which repeat its errors at length."""
    loggers = [logging.getLogger(name) for name in ("absl", "asyncio")]
    before = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    try:
        yield
    finally:
        for logger, disabled in zip(loggers, before, strict=True):
            logger.disabled = disabled

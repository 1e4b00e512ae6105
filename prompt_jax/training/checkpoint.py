"""Checkpoints of what trains: a pytree of arrays, by orbax, and a JSON record beside it.

A disk may give back other bytes than it was given, years later and without a word. So each
checkpoint lists the digests of its files, and nothing is read from files that do not match.
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

from prompt_jax.errors import PromptError
from prompt_jax.storage.files import sync_folder, write_text

DIGESTS, RECORD, STATE, UNFINISHED = "digests.json", "record.json", "state", ".unfinished"
LONGEST_REASON = 150
METADATA = 2**16  # bytes, more than orbax adds to the arrays


class Checkpoints:
    """The checkpoints of one run, a folder a step; the newest `keep` of them stay on disk."""

    def __init__(self, folder: pathlib.Path, keep: int = 2):
        """Opens, and if need be makes, the folder.

        Args:
            folder: where to.
            keep: two, so that one is left where the newest is damaged later.
        """
        self.folder = pathlib.Path(folder).absolute()
        self._keep = keep
        self._arrays = ocp.Checkpointer(ocp.StandardCheckpointHandler())
        self.folder.mkdir(parents=True, exist_ok=True)
        self._remove_unfinished()

    def steps(self) -> list[int]:
        """The complete ones, from the oldest on."""
        names = (path.name for path in self.folder.iterdir())
        return sorted(int(name) for name in names if re.fullmatch(r"[1-9][0-9]{0,17}", name))

    def latest(self) -> int | None:
        """The newest complete step, or None."""
        return max(self.steps(), default=None)

    def save(self, step: int, state: Any, record: dict) -> None:
        """Writes arrays and record; a run that dies midway leaves the one before untouched.

        Raises:
            PromptError: they cannot be written, e.g. because the disk is full.
        """
        last = self.latest()
        reason = ""
        with _quietly():
            try:
                self._write(self.folder / f"{step}{UNFINISHED}", state, record)
            except Exception as error:  # orbax has no class of its own for what a disk refuses
                reason = _reason(error)
        if reason:
            self._remove_unfinished()
            where = "from the start" if last is None else f"from step {last}, which is kept"
            raise PromptError(
                f"the checkpoint {self.folder}/{step} cannot be written ({reason}); make room or "
                f"mend the folder, then run again: it goes on {where}"
            )
        self._put_in_place(step)

    def _write(self, folder, state, record):
        folder.mkdir()
        _refuse_full_disk(folder, sum(leaf.nbytes for leaf in jax.tree.leaves(state)))
        self._arrays.save(folder / STATE, args=ocp.args.StandardSave(state))
        content = {"record": record, "arrays": shapes_of(state)}
        write_text(folder / RECORD, json.dumps(content, indent=1) + "\n")
        write_text(folder / DIGESTS, json.dumps(digests(folder), indent=1) + "\n")

    def _put_in_place(self, step):
        final = self.folder / str(step)
        if final.exists():
            shutil.rmtree(final)
        (self.folder / f"{step}{UNFINISHED}").rename(final)
        sync_folder(self.folder)
        for old in self.steps()[: -self._keep]:
            shutil.rmtree(self.folder / str(old))

    def restore(
        self, step: int, like: Any, accept: Callable[[dict], None] | None = None
    ) -> tuple[Any, dict]:
        """The arrays and the record of a step, as they were saved.

        Args:
            step: which.
            like: a pytree with the structure, shapes and placement that the arrays shall have.
            accept: is given the record before the arrays are read; raises if it is another run's.

        Raises:
            PromptError: a file is missing or damaged, or the arrays have other places, types or
                shapes than those of `like`. An older step that is whole is named.
        """
        folder = self.folder / str(step)
        damage = damage_of(folder)
        if damage:
            raise self._refusal(step, damage)
        content = json.loads((folder / RECORD).read_text())
        record, there, here = content["record"], content["arrays"], shapes_of(like)
        if accept is not None:
            accept(record)
        # Compared here: orbax's threads would each complain for themselves.
        other = [name for name in {**here, **there} if here.get(name) != there.get(name)]
        if other:
            shown = f"{other[0]} is {there.get(other[0])} there, {here.get(other[0])} here"
            raise self._refusal(step, f"its arrays are those of other settings ({shown})")
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        args = ocp.args.StandardRestore(target)
        return self._arrays.restore(folder / STATE, args=args), record

    def _refusal(self, step, damage):
        """The error that says what to do about a step that cannot be read."""
        older = (n for n in reversed(self.steps()) if n < step)
        whole = next((n for n in older if not damage_of(self.folder / str(n))), None)
        instead = "start this run again"
        if whole is not None:
            instead = f"go on from step {whole}, whose checkpoint is whole"
        return PromptError(
            f"the checkpoint {self.folder}/{step} cannot be read: {damage}; delete that folder to "
            f"{instead}, or use another workdir"
        )

    def _remove_unfinished(self):
        """What a kill or a full disk left, where it takes the room that is missing."""
        for path in self.folder.glob(f"*{UNFINISHED}"):
            shutil.rmtree(path, ignore_errors=True)

    def close(self) -> None:
        """Waits for writing to end."""
        self._arrays.close()


def shapes_of(state: Any) -> dict[str, str]:
    """The arrays of a pytree in words, by their places in it: "float32[4, 512]"."""
    return {
        jax.tree_util.keystr(path): f"{leaf.dtype}{list(leaf.shape)}"
        for path, leaf in jax.tree.leaves_with_path(state)
    }


def damage_of(folder: pathlib.Path) -> str:
    """What is wrong with the files of a checkpoint, in words; "" if all are as they were saved."""
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
    """SHA-256 of every file of a checkpoint, by its path in the folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    found = {}
    for path in files:
        name = path.relative_to(folder).as_posix()
        if name != DIGESTS:
            with path.open("rb") as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _refuse_full_disk(folder, size):
    """Raises an OSError where `size` bytes do not fit: orbax's threads would, one by one."""
    trial = folder / "trial"
    with trial.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size + METADATA)
    trial.unlink()


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without what orbax logs, page by page, of failures that it also raises."""
    loggers = [logging.getLogger(name) for name in ("absl", "asyncio")]
    before = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    try:
        yield
    finally:
        for logger, disabled in zip(loggers, before, strict=True):
            logger.disabled = disabled


def _reason(error: Exception) -> str:
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return words.splitlines()[0][:LONGEST_REASON]

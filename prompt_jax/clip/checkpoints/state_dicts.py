"""Checkpoint files as flat names and numpy arrays: safetensors, PyTorch, TorchScript, sharded."""

import itertools
import re
import stat
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pydantic
import safetensors
from safetensors.numpy import load_file

from prompt_jax.clip.checkpoints import torch_files, unwrapping
from prompt_jax.clip.checkpoints.layouts import State
from prompt_jax.clip.checkpoints.torch_files import LONGEST_NAME
from prompt_jax.errors import PromptError
from prompt_jax.storage import files

TORCH_SUFFIXES = (".pt", ".pth", ".pyth", ".bin", ".ckpt")
SUFFIXES = (".safetensors", *TORCH_SUFFIXES)
MOST_TRAINING_BYTES = 4 * 2**30  # MaPLe keeps the frozen CLIP in it
MOST_JSON_BYTES = 64 * 2**20

# safetensors asks numpy for "bfloat16", which numpy knows once ml_dtypes has been imported.
_NARROW = (np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16))
_FILE_NAME = re.compile(r"[^/\\\x00-\x1f]{1,200}")


class _Index(pydantic.BaseModel):
    """Which file holds which tensor of a sharded checkpoint."""

    model_config = pydantic.ConfigDict(strict=True)

    weight_map: dict[str, str]


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object.

    Raises:
        PromptError: it cannot be read, is far too large, says a key twice, or holds something else.
    """
    _check_file(path)
    if path.stat().st_size > MOST_JSON_BYTES:
        raise PromptError(f"{path.name} is larger than {MOST_JSON_BYTES >> 20} MiB")
    try:
        content = files.read_json(path)
    except (OSError, ValueError) as error:
        raise PromptError(f"{path.name} cannot be read as JSON: {error}") from None
    if not isinstance(content, dict):
        raise PromptError(f"{path.name} holds a {type(content).__name__}, not a JSON object")
    return content


def read_state(path: Path) -> State:
    """All tensors of one checkpoint; see `read_told`."""
    return read_told(path)[0]


def read_told(path: Path) -> tuple[State, tuple[str, ...]]:
    """All tensors of one checkpoint, and what had to be found out to read them.

    Args:
        path: a weight file, or the index of a sharded one (".index.json").

    Returns:
        arrays by a CLIP's own names, narrow floats widened to float32; and lines that say what was
        taken out of which wrapping.

    Raises:
        PromptError: a file is absent, empty, corrupt or no checkpoint, a name is no name, or it
            holds several CLIPs.
    """
    taken = ""
    if path.name.endswith(".index.json"):
        state: State = {}
        for shard in _shards(path):
            tensors, taken = _read_file(shard)
            if twice := next(iter(state.keys() & tensors.keys()), None):
                raise PromptError(f"{path.name}: {twice} stands in two of its shards")
            state |= tensors
    else:
        state, taken = _read_file(path)
    try:
        state, cut = unwrapping.cut(state)
    except ValueError as error:
        raise PromptError(f"{path.name}: {error}") from None
    return state, tuple(filter(None, (taken, cut)))


def read_training(path: Path) -> tuple[State, dict[str, int | float]]:
    """A checkpoint of a training in PyTorch, whatever it is called: "model.pth.tar-50".

    Args:
        path: a file by torch.save, of a dict that holds a "state_dict".

    Returns:
        arrays as of `read_state`; and the numbers that stand beside them, e.g. the "epoch".

    Raises:
        PromptError: as of `read_state`.
    """
    _check_content(path)
    if (size := path.stat().st_size) > MOST_TRAINING_BYTES:
        raise PromptError(
            f"{path.name} has {size:,} bytes; at most {MOST_TRAINING_BYTES:,} are read of a "
            "training's checkpoint"
        )
    tensors, _, numbers = _read_torch(path)
    return unwrapping.cut_parallel(_checked(path, tensors)), numbers


def _shards(index: Path) -> list[Path]:
    try:
        said = files.check(read_json(index), _Index)
    except ValueError as error:
        raise PromptError(f"{index.name}: {error}") from None
    names = sorted(set(said.weight_map.values()))
    # A shard outside the folder is no part of a checkpoint.
    if wrong := [name for name in names if not _FILE_NAME.fullmatch(name)]:
        raise PromptError(f"{index.name}: {wrong[0][:80]!r} is no name of a file in its folder")
    shards = [index.parent / name for name in names]
    # Stops at the first few: an index can name a million.
    if absent := list(itertools.islice((s.name for s in shards if not s.is_file()), 8)):
        raise PromptError(f"{index.name} names shards that are not there: {', '.join(absent)}")
    return shards


def _check_file(path: Path) -> None:
    """Refuses what is no file with content; opening a pipe would wait for ever."""
    try:
        status = path.stat()
    except OSError as error:
        raise PromptError(f"{path.name} cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(status.st_mode):
        raise PromptError(f"{path.name} is no file, but a folder, pipe or device")
    if not status.st_size:
        raise PromptError(f"{path.name} is empty")


def _read_file(path: Path) -> tuple[State, str]:
    if path.suffix not in SUFFIXES:
        raise PromptError(f"{path.name} is no weight file; those end in {', '.join(SUFFIXES)}")
    _check_content(path)
    if path.suffix == ".safetensors":
        return _checked(path, _read_safetensors(path)), ""
    tensors, taken, _ = _read_torch(path)
    return _checked(path, tensors), taken


def _check_content(path: Path) -> None:
    """Refuses what holds no weights at first sight."""
    _check_file(path)
    try:
        with path.open("rb") as file:
            head = file.read(40)
    except OSError as error:
        raise PromptError(f"{path.name} cannot be read: {error.strerror}") from None
    if head.startswith(b"version https://git-lfs"):
        raise PromptError(f"{path.name} is a Git LFS pointer, not the weights; run: git lfs pull")


def _checked(path: Path, tensors: State) -> State:
    """With names that can be printed, narrow floats widened."""
    for name in tensors:
        # Names are printed in errors: none floods the terminal or steers it.
        if len(name) > LONGEST_NAME or not name.isprintable():
            raise PromptError(f"{path.name}: {name[:80]!r} is no name of a tensor")
    return {n: a.astype(np.float32) if a.dtype in _NARROW else a for n, a in tensors.items()}


def _read_safetensors(path: Path) -> State:
    try:
        tensors = load_file(path)
        with path.open("rb") as file:
            # The library lets the last of two tensors of one name win.
            files.parse_json(file.read(int.from_bytes(file.read(8), "little")).decode())
    except (safetensors.SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        reason = str(error)[:300]
        raise PromptError(f"{path.name} is not a readable safetensors file: {reason}") from None
    return tensors


def _read_torch(path: Path) -> torch_files.Read:
    try:
        return torch_files.read(path)
    except unwrapping.NoSingleDict as error:
        raise PromptError(f"{path.name} can be read, but {error}") from None
    # Damaged archives fail in too many ways to name.
    except Exception as error:
        reason = str(error).strip().partition("\n")[0][:300] or type(error).__name__
        raise PromptError(f"{path.name} is not a readable PyTorch checkpoint: {reason}") from None

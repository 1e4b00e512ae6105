"""Reads checkpoint files as numpy arrays by name: safetensors, PyTorch, TorchScript, sharded."""

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
MOST_TRAINING_BYTES = 4 * 2**30  # MaPLe's checkpoints include the frozen CLIP
MOST_JSON_BYTES = 64 * 2**20

# Importing ml_dtypes also registers "bfloat16" with numpy, which safetensors needs.
_NARROW = (np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16))
_FILE_NAME = re.compile(r"[^/\\\x00-\x1f]{1,200}")


class _Index(pydantic.BaseModel):
    """The index of a sharded checkpoint: file names by tensor name."""

    model_config = pydantic.ConfigDict(strict=True)

    weight_map: dict[str, str]


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON file that holds an object.

    Raises:
        PromptError: the file cannot be read, is too large, repeats a key, or holds another type.
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
    """Reads all tensors of one checkpoint; see `read_with_notes`."""
    return read_with_notes(path)[0]


def read_with_notes(path: Path) -> tuple[State, tuple[str, ...]]:
    """Reads all tensors of one checkpoint, and notes about removed wrappers.

    Args:
        path: a weight file, or the index of a sharded one (".index.json").

    Returns:
        arrays by the CLIP's parameter names, float16 and bfloat16 converted to float32; and notes
        about the chosen state dict and about removed prefixes.

    Raises:
        PromptError: a file is absent, empty, corrupt or not a checkpoint, a tensor's name is
            invalid, or there are several CLIPs.
    """
    note = ""
    if path.name.endswith(".index.json"):
        state: State = {}
        for shard in _shards(path):
            tensors, note = _read_file(shard)
            if twice := next(iter(state.keys() & tensors.keys()), None):
                raise PromptError(f"{path.name}: {twice} is in two of its shards")
            state |= tensors
    else:
        state, note = _read_file(path)
    try:
        state, cut = unwrapping.cut(state)
    except ValueError as error:
        raise PromptError(f"{path.name}: {error}") from None
    return state, tuple(filter(None, (note, cut)))


def read_training(path: Path) -> tuple[State, dict[str, int | float]]:
    """Reads a PyTorch training checkpoint with any file name, such as "model.pth.tar-50".

    Args:
        path: a file by torch.save, of a dict that holds a "state_dict".

    Returns:
        arrays as from `read_state`; and the numbers beside them, e.g. the "epoch".

    Raises:
        PromptError: see `read_state`.
    """
    _check_content(path)
    if (size := path.stat().st_size) > MOST_TRAINING_BYTES:
        raise PromptError(
            f"{path.name} has {size:,} bytes; training checkpoints may have at most "
            f"{MOST_TRAINING_BYTES:,}"
        )
    tensors, _, numbers = _read_torch(path)
    return unwrapping.cut_parallel(_checked(path, tensors)), numbers


def _shards(index: Path) -> list[Path]:
    try:
        weight_map = files.check(read_json(index), _Index).weight_map
    except ValueError as error:
        raise PromptError(f"{index.name}: {error}") from None
    names = sorted(set(weight_map.values()))
    # Shards must be in the same directory.
    if wrong := [name for name in names if not _FILE_NAME.fullmatch(name)]:
        raise PromptError(f"{index.name}: {wrong[0][:80]!r} is not a file name in its directory")
    shards = [index.parent / name for name in names]
    # Stops after a few: an index can name a million.
    if absent := list(itertools.islice((s.name for s in shards if not s.is_file()), 8)):
        raise PromptError(f"{index.name} names shards that are missing: {', '.join(absent)}")
    return shards


def _check_file(path: Path) -> None:
    """Rejects everything but non-empty regular files; opening a pipe would block forever."""
    try:
        status = path.stat()
    except OSError as error:
        raise PromptError(f"{path.name} cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(status.st_mode):
        raise PromptError(f"{path.name} is not a file but a directory, pipe or device")
    if not status.st_size:
        raise PromptError(f"{path.name} is empty")


def _read_file(path: Path) -> tuple[State, str]:
    if path.suffix not in SUFFIXES:
        raise PromptError(f"{path.name} is not a weight file; they end in {', '.join(SUFFIXES)}")
    _check_content(path)
    if path.suffix == ".safetensors":
        return _checked(path, _read_safetensors(path)), ""
    tensors, note, _ = _read_torch(path)
    return _checked(path, tensors), note


def _check_content(path: Path) -> None:
    """Rejects unreadable files and Git LFS pointers."""
    _check_file(path)
    try:
        with path.open("rb") as file:
            head = file.read(40)
    except OSError as error:
        raise PromptError(f"{path.name} cannot be read: {error.strerror}") from None
    if head.startswith(b"version https://git-lfs"):
        raise PromptError(f"{path.name} is a Git LFS pointer, not the weights; run: git lfs pull")


def _checked(path: Path, tensors: State) -> State:
    """Checks the names and converts float16 and bfloat16 to float32."""
    for name in tensors:
        # Names are printed in errors: they must not flood or control the terminal.
        if len(name) > LONGEST_NAME or not name.isprintable():
            raise PromptError(
                f"{path.name}: tensor name {name[:80]!r} must be printable and have at most"
                f" {LONGEST_NAME} characters"
            )
    return {n: a.astype(np.float32) if a.dtype in _NARROW else a for n, a in tensors.items()}


def _read_safetensors(path: Path) -> State:
    try:
        tensors = load_file(path)
        with path.open("rb") as file:
            # Checks for repeated names, which the library accepts.
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
    # Damaged archives raise many types of exceptions.
    except Exception as error:
        reason = str(error).strip().partition("\n")[0][:300] or type(error).__name__
        raise PromptError(f"{path.name} is not a readable PyTorch checkpoint: {reason}") from None

"""Checkpoint files as flat names and numpy arrays: safetensors, PyTorch, TorchScript, sharded."""

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import safetensors
from safetensors.numpy import load_file

from prompt_jax.clip import torch_files
from prompt_jax.clip.layouts import State
from prompt_jax.errors import PromptError

TORCH_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt")
SUFFIXES = (".safetensors", *TORCH_SUFFIXES)

# safetensors asks numpy for "bfloat16", which numpy knows once ml_dtypes has been imported.
_NARROW = (np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16))
_WRAPPERS = ("module.", "_orig_mod.")  # left by DistributedDataParallel and torch.compile


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object.

    Raises:
        PromptError: it cannot be read, or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PromptError(f"{path.name} cannot be read as JSON: {error}") from None
    if not isinstance(content, dict):
        raise PromptError(f"{path.name} holds a {type(content).__name__}, not a JSON object")
    return content


def read_state(path: Path) -> State:
    """All tensors of one checkpoint.

    Args:
        path: a weight file, or the index of a sharded one (".index.json").

    Returns:
        arrays by name, narrow floats widened to float32, wrappers' prefixes cut off.

    Raises:
        PromptError: a file is absent, empty, corrupt, no checkpoint, or needs PyTorch and there
            is none.
    """
    if path.name.endswith(".index.json"):
        state: State = {}
        for shard in _shards(path):
            state |= _read_file(shard)
    else:
        state = _read_file(path)
    for prefix in _WRAPPERS:
        if state and all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): array for name, array in state.items()}
    return state


def _shards(index: Path) -> list[Path]:
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(n, str) for n in names.values()):
        raise PromptError(f"{index.name} has no weight_map from tensor names to files")
    # A shard outside the folder is no part of a checkpoint.
    shards = [index.parent / Path(name).name for name in sorted(set(names.values()))]
    absent = [shard.name for shard in shards if not shard.is_file()]
    if absent:
        raise PromptError(f"{index.name} names shards that are not there: {', '.join(absent)}")
    return shards


def _read_file(path: Path) -> State:
    if path.suffix not in SUFFIXES:
        raise PromptError(f"{path.name} is no weight file; those end in {', '.join(SUFFIXES)}")
    try:
        with path.open("rb") as file:
            head = file.read(40)
    except OSError as error:
        raise PromptError(f"{path.name} cannot be read: {error.strerror}") from None
    if not head:
        raise PromptError(f"{path.name} is empty")
    if head.startswith(b"version https://git-lfs"):
        raise PromptError(f"{path.name} is a Git LFS pointer, not the weights; run: git lfs pull")
    tensors = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    return {n: a.astype(np.float32) if a.dtype in _NARROW else a for n, a in tensors.items()}


def _read_safetensors(path: Path) -> State:
    try:
        return load_file(path)
    except (safetensors.SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        raise PromptError(f"{path.name} is not a readable safetensors file: {error}") from None


def _read_torch(path: Path) -> State:
    try:
        return torch_files.read(path)
    # Damaged archives fail in too many ways to name.
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise PromptError(f"{path.name} is not a readable PyTorch checkpoint: {reason}") from None

"""Reads files of torch.save and torch.jit.save without torch and without executing code.

There are three formats: the zip file of torch 1.6 and later, the same with a TorchScript module,
and the sequence of pickles of earlier versions.
"""

import functools
import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from prompt_jax.clip.checkpoints import pickles, unwrapping
from prompt_jax.clip.checkpoints.pickles import Module, Storage, Tensor

# Limits far above any CLIP's needs, far below what fills the memory or takes minutes.
MOST_LIST_BYTES = 16 * 2**20  # of a zip file's list of entries
MOST_CODE_BYTES = 64 * 2**20  # of TorchScript's code, which is compressed
MOST_ATTRIBUTES = 1_000_000  # of TorchScript's modules; shared modules count each time
MOST_REPEATS = 4  # ratio of the tensors' bytes to the file's; shared weights are stored once
LONGEST_NAME = 200

_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001  # of the files before torch 1.6
_CLASS = re.compile(r"^class (\w+)\(Module\):\n((?:  __\w+__ = .*\n)*)", re.MULTILINE)
_LIST = re.compile(r"^  __(parameters|buffers)__ = \[(.*)\]$", re.MULTILINE)


class _Content(NamedTuple):
    """A file's pickle, a reader of its storages, and the parameter names of module classes."""

    value: Any
    read: Callable[[Storage], bytes]
    registered: Callable[[Module], set[str] | None]


class Read(NamedTuple):
    """The content of a file.

    Attributes:
        arrays: by name, with the file's dtypes; read-only, and sharing memory like the tensors.
        note: message about which of the file's dicts was read; "" if there is only one.
        numbers: numbers beside a training's state dict, e.g. its "epoch".
    """

    arrays: dict[str, np.ndarray]
    note: str
    numbers: dict[str, int | float]


def read(path: Path) -> Read:
    """Reads the tensors of a state dict or TorchScript module, and the numbers beside them.

    Args:
        path: a file by torch.save, of a state dict or of nested dicts that contain one (see
            `unwrapping.find`); or by torch.jit.save.

    Raises:
        ValueError: the file is damaged, holds something else, or exceeds the limits above. Damaged
            zip files also raise the exceptions of `zipfile`.
    """
    size = path.stat().st_size
    with _File(io.FileIO(path)) as file:
        is_zip = file.peek(4).startswith(b"PK\x03\x04")
        content = _open_zip(file, size) if is_zip else _open_pickles(file, size)
        tensors, note = _state_dict(content)
        if sum(tensor.nbytes for tensor in tensors.values()) > MOST_REPEATS * size:
            raise ValueError("its tensors repeat storages and are far larger than the file")
        stored: dict[str, bytes] = {}
        arrays = {}
        for name, tensor in tensors.items():
            key = tensor.storage.key
            if key not in stored:
                stored[key] = content.read(tensor.storage)
            arrays[name] = _array(tensor, stored[key])
    return Read(arrays, note, _numbers(content.value))


def _numbers(value: Any) -> dict[str, int | float]:
    if not isinstance(value, dict):
        return {}
    return {
        name: number
        for name, number in value.items()
        if isinstance(name, str) and isinstance(number, int | float)
    }


def _array(tensor: Tensor, stored: bytes) -> np.ndarray:
    dtype = tensor.storage.dtype
    if 0 in tensor.shape:
        return np.zeros(tensor.shape, dtype)
    strides = [stride * dtype.itemsize for stride in tensor.strides]
    # numpy rejects views beyond the buffer.
    return np.ndarray(tensor.shape, dtype, stored, tensor.offset * dtype.itemsize, strides)


class _File(io.BufferedReader):
    """A file that rejects single reads of more than `limit` bytes."""

    limit = MOST_LIST_BYTES

    def read(self, size: int | None = -1) -> bytes:
        """Reads at most `size` bytes; raises ValueError if that exceeds the limit."""
        if size is not None and size > self.limit:
            raise ValueError("a part of it declares an impossible size")
        return super().read(size)


def _open_zip(file: _File, size: int) -> _Content:
    archive = zipfile.ZipFile(file)  # reads the list of entries
    file.limit = size
    listed = archive.infolist()
    entries = {entry.filename: entry for entry in listed}
    if len(entries) < len(listed):
        raise ValueError("it has two entries of the same name")
    if sum(entry.file_size for entry in listed) > size + MOST_CODE_BYTES:
        raise ValueError("its entries are far larger than it; they overlap or are compressed")
    roots = [name.removesuffix("data.pkl") for name in entries if name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise ValueError(f"it has {len(roots)} entries NAME/data.pkl instead of one")
    [root] = roots

    def stored(name: str) -> bytes:
        entry = entries.get(root + name)
        if entry is None:
            raise ValueError(f"its entry {name} is missing")
        if entry.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"its entry {name} is compressed, which torch never does")
        return archive.read(entry)

    def read_storage(storage: Storage) -> bytes:
        content = stored(f"data/{storage.key}")
        if len(content) != storage.nbytes:
            raise ValueError(
                f"its storage {storage.key} has {len(content)} bytes instead of {storage.nbytes}"
            )
        return content

    @functools.cache
    def classes(module: str) -> dict[str, set[str]]:
        entry = entries.get(f"{root}code/{module.replace('.', '/')}.py")
        if entry and entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError("its code is compressed in a way that torch never uses")
        return _registered(archive.read(entry).decode()) if entry else {}

    def registered(module: Module) -> set[str] | None:
        where, _, name = module.name.rpartition(" ")
        return classes(where).get(name)

    if f"{root}byteorder" in entries and stored("byteorder") != b"little":
        raise ValueError("its numbers are big-endian; save it again on a little-endian machine")
    value, _ = pickles.load(io.BytesIO(stored("data.pkl")))
    return _Content(value, read_storage, registered)


def _registered(code: str) -> dict[str, set[str]]:
    """Returns parameter and buffer names by class; omits classes that do not list their buffers."""
    found = {}
    for name, head in _CLASS.findall(code):
        lists = dict(_LIST.findall(head))
        if "buffers" in lists:
            found[name] = set(re.findall(r'"([^"]*)"', ",".join(lists.values())))
    return found


def _open_pickles(file: _File, size: int) -> _Content:
    """Opens a sequence of pickles (magic number, version, machine, content, keys) and storages."""
    file.limit = size
    if not file.peek(1).startswith(b"\x80") or pickles.load(file)[0] != _MAGIC:
        raise ValueError("it was not written by torch.save or torch.jit.save")
    (version, _), (machine, _) = pickles.load(file), pickles.load(file)
    if version != _VERSION or not isinstance(machine, dict) or not machine.get("little_endian"):
        raise ValueError("its version or byte order is not supported")
    value, storages = pickles.load(file)
    keys, _ = pickles.load(file)
    is_names = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
    if not is_names or sorted(keys) != sorted(storages):
        raise ValueError("its storages are not those of its tensors")
    at, starts = file.tell(), {}
    for key in keys:
        starts[key] = at + 8  # after the size
        at = starts[key] + storages[key].nbytes
    if at > size:
        raise ValueError("it is truncated")

    def read_storage(storage: Storage) -> bytes:
        file.seek(starts[storage.key] - 8)
        if int.from_bytes(file.read(8), "little") != storage.size:
            raise ValueError(f"its storage {storage.key} has another size than declared")
        return file.read(storage.nbytes)

    return _Content(value, read_storage, lambda module: None)


def _state_dict(content: _Content) -> tuple[dict[str, Tensor], str]:
    value = content.value
    if isinstance(value, Module):
        return _module_tensors(value, content.registered), ""
    if not isinstance(value, dict):
        raise ValueError(f"it holds a {type(value).__name__}, not a state dict")
    return unwrapping.find(value, Tensor)


def _module_tensors(
    root: Module, registered: Callable[[Module], set[str] | None]
) -> dict[str, Tensor]:
    """Returns the parameters and buffers of a module and its submodules, like state_dict()."""
    tensors: dict[str, Tensor] = {}
    waiting, seen = [("", root)], 0
    while waiting:
        prefix, module = waiting.pop()
        names = registered(module)
        seen += len(module.attributes)
        # Modules may contain themselves, or each other in exponentially many ways.
        if seen > MOST_ATTRIBUTES:
            raise ValueError(f"its modules have more than {MOST_ATTRIBUTES} attributes")
        for attribute, value in module.attributes.items():
            name = prefix + attribute
            if len(name) > LONGEST_NAME:
                raise ValueError(f"a name exceeds {LONGEST_NAME} characters: {name[:80]}…")
            if isinstance(value, Module):
                waiting.append((f"{name}.", value))
            elif isinstance(value, Tensor) and (names is None or attribute in names):
                tensors[name] = value
    return tensors

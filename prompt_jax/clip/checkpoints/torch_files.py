"""What torch.save and torch.jit.save write, read without torch: names and numbers, never code.

Three containers: the zip file of torch 1.6 and later; the same with a TorchScript module in it; the
row of pickles of earlier versions.
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

# Far above any CLIP's, far below what fills the memory or takes minutes.
MOST_LIST_BYTES = 16 * 2**20  # of a zip file's list of entries
MOST_CODE_BYTES = 64 * 2**20  # of TorchScript's code, which is compressed
MOST_ATTRIBUTES = 1_000_000  # of TorchScript's modules, one that is there twice counted twice
MOST_REPEATS = 4  # tensors' bytes over the file's; weights that are shared stand in it once
LONGEST_NAME = 200

_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001  # of the files before torch 1.6
_CLASS = re.compile(r"^class (\w+)\(Module\):\n((?:  __\w+__ = .*\n)*)", re.MULTILINE)
_LIST = re.compile(r"^  __(parameters|buffers)__ = \[(.*)\]$", re.MULTILINE)


class _Content(NamedTuple):
    """A file's pickle, how a storage is read, and what the classes of its modules register."""

    value: Any
    read: Callable[[Storage], bytes]
    registered: Callable[[Module], set[str] | None]


class Read(NamedTuple):
    """What a file holds.

    Attributes:
        arrays: by name, of the file's types; they cannot be written to, and share memory where the
            tensors did.
        taken: a line that says which of the file's dicts they are; "" where it holds but them.
        numbers: what stands beside a training's state dict, e.g. its "epoch".
    """

    arrays: dict[str, np.ndarray]
    taken: str
    numbers: dict[str, int | float]


def read(path: Path) -> Read:
    """The tensors of a state dict or of a TorchScript module, and what a training says beside them.

    Args:
        path: a file by torch.save, of a state dict or of a dict that holds one somewhere (see
            `unwrapping.find`); or by torch.jit.save.

    Raises:
        ValueError: it is damaged, holds something else, or is beyond the limits above. Damaged zip
            files also raise what `zipfile` raises.
    """
    size = path.stat().st_size
    with _File(io.FileIO(path)) as file:
        is_zip = file.peek(4).startswith(b"PK\x03\x04")
        content = _open_zip(file, size) if is_zip else _open_row(file, size)
        tensors, taken = _state_dict(content)
        if sum(tensor.nbytes for tensor in tensors.values()) > MOST_REPEATS * size:
            raise ValueError("its tensors repeat what it holds until they are far larger than it")
        stored: dict[str, bytes] = {}
        arrays = {}
        for name, tensor in tensors.items():
            key = tensor.storage.key
            if key not in stored:
                stored[key] = content.read(tensor.storage)
            arrays[name] = _array(tensor, stored[key])
    return Read(arrays, taken, _numbers(content.value))


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
    # numpy refuses a view that leaves the bytes.
    return np.ndarray(tensor.shape, dtype, stored, tensor.offset * dtype.itemsize, strides)


class _File(io.BufferedReader):
    """A file of which no more than `limit` bytes are asked for at once, whatever it says."""

    limit = MOST_LIST_BYTES

    def read(self, size: int | None = -1) -> bytes:
        """As of any file."""
        if size is not None and size > self.limit:
            raise ValueError("a part of it says that it is larger than it can be")
        return super().read(size)


def _open_zip(file: _File, size: int) -> _Content:
    archive = zipfile.ZipFile(file)  # reads the list of its entries at once
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
            raise ValueError(f"its entry {name} is compressed, as torch never writes it")
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
            raise ValueError("its code is compressed in a way that torch does not know")
        return _registered(archive.read(entry).decode()) if entry else {}

    def registered(module: Module) -> set[str] | None:
        where, _, name = module.name.rpartition(" ")
        return classes(where).get(name)

    if f"{root}byteorder" in entries and stored("byteorder") != b"little":
        raise ValueError("its numbers are big-endian; save it anew on a usual machine")
    value, _ = pickles.load(io.BytesIO(stored("data.pkl")))
    return _Content(value, read_storage, registered)


def _registered(code: str) -> dict[str, set[str]]:
    """By class, the attributes that are parameters or buffers; not where an old file leaves out."""
    found = {}
    for name, head in _CLASS.findall(code):
        lists = dict(_LIST.findall(head))
        if "buffers" in lists:
            found[name] = set(re.findall(r'"([^"]*)"', ",".join(lists.values())))
    return found


def _open_row(file: _File, size: int) -> _Content:
    """Pickles in a row: magic number, version, machine, content, keys; then the storages."""
    file.limit = size
    if not file.peek(1).startswith(b"\x80") or pickles.load(file)[0] != _MAGIC:
        raise ValueError("neither torch.save nor torch.jit.save wrote it")
    (version, _), (machine, _) = pickles.load(file), pickles.load(file)
    if version != _VERSION or not isinstance(machine, dict) or not machine.get("little_endian"):
        raise ValueError("its version or byte order is not known here")
    value, storages = pickles.load(file)
    keys, _ = pickles.load(file)
    is_names = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
    if not is_names or sorted(keys) != sorted(storages):
        raise ValueError("its storages are not those that its tensors need")
    at, starts = file.tell(), {}
    for key in keys:
        starts[key] = at + 8  # behind its size
        at = starts[key] + storages[key].nbytes
    if at > size:
        raise ValueError("it ends too early")

    def read_storage(storage: Storage) -> bytes:
        file.seek(starts[storage.key] - 8)
        if int.from_bytes(file.read(8), "little") != storage.size:
            raise ValueError(f"its storage {storage.key} has another size than its tensors need")
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
    """A module's parameters and buffers and those of the modules in it, as its state_dict() is."""
    tensors: dict[str, Tensor] = {}
    waiting, seen = [("", root)], 0
    while waiting:
        prefix, module = waiting.pop()
        names = registered(module)
        seen += len(module.attributes)
        # A module may hold itself, or a few each other in very many ways.
        if seen > MOST_ATTRIBUTES:
            raise ValueError(f"its modules have more than {MOST_ATTRIBUTES} attributes")
        for attribute, value in module.attributes.items():
            name = prefix + attribute
            if len(name) > LONGEST_NAME:
                raise ValueError(f"a name has more than {LONGEST_NAME} characters: {name[:80]}…")
            if isinstance(value, Module):
                waiting.append((f"{name}.", value))
            elif isinstance(value, Tensor) and (names is None or attribute in names):
                tensors[name] = value
    return tensors

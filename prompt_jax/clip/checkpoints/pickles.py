"""Parses the pickles in PyTorch's files as data, without importing or calling anything.

A pickle is a program, so loading an untrusted one can execute code. This parser keeps globals as
names, turns the few calls that describe tensors into records, skips optimizers and schedules, and
rejects everything else. Memory is bounded by the file's size: no instruction allocates more than it
has read.
"""

import math
import pickletools
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

MOST_INSTRUCTIONS = 2_000_000  # a checkpoint has about forty per tensor
MOST_AXES = 32

_DTYPES = {
    "torch DoubleStorage": np.dtype(np.float64),
    "torch FloatStorage": np.dtype(np.float32),
    "torch HalfStorage": np.dtype(np.float16),
    "torch BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "torch LongStorage": np.dtype(np.int64),
    "torch IntStorage": np.dtype(np.int32),
    "torch ShortStorage": np.dtype(np.int16),
    "torch CharStorage": np.dtype(np.int8),
    "torch ByteStorage": np.dtype(np.uint8),
    "torch BoolStorage": np.dtype(np.bool_),
}


class Global(NamedTuple):
    """A name, "module attribute", that pickle would import."""

    name: str


class Storage(NamedTuple):
    """A contiguous array of numbers, stored in the file under `key`."""

    dtype: np.dtype
    key: str
    size: int

    @property
    def nbytes(self) -> int:
        """Returns its size in bytes."""
        return self.size * self.dtype.itemsize


class Tensor(NamedTuple):
    """A view within a storage; offset and strides are in numbers, not bytes."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Returns the bytes of a copy, more than the storage's if numbers repeat."""
        return math.prod(self.shape) * self.storage.dtype.itemsize


class Module:
    """A TorchScript object: its class, "module attribute", and its attributes."""

    def __init__(self, name: str):
        self.name = name
        self.attributes: dict[str, Any] = {}


class Skipped(NamedTuple):
    """An object that is not needed: its class, "module attribute", without its content."""

    name: str


class _Marker:
    """The start of a tuple, list or dict on the stack."""


def load(file: BinaryIO) -> tuple[Any, dict[str, Storage]]:
    """Reads one pickle.

    Args:
        file: positioned at the pickle's start; left at its end.

    Returns:
        the content: plain values, dicts, lists, tuples, and the records above; and all its
        storages by key.

    Raises:
        ValueError: the pickle is damaged, or has unsupported calls or instructions.
    """
    machine = _Machine()
    try:
        for count, (instruction, argument, _) in enumerate(pickletools.genops(file)):
            if count > MOST_INSTRUCTIONS:
                raise ValueError(f"its pickle has more than {MOST_INSTRUCTIONS} instructions")
            machine.run(instruction.name, argument)
        return machine.stack.pop(), machine.storages
    except (IndexError, KeyError, TypeError) as error:
        raise ValueError(f"its pickle is damaged ({type(error).__name__}: {error})") from None


class _Machine:
    """A pickle machine: stack, memo, and the supported instructions."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}

    def run(self, name: str, argument: Any) -> None:
        """Executes one instruction."""
        stack = self.stack
        match name:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "NONE":
                stack.append(None)
            case "NEWTRUE" | "NEWFALSE":
                stack.append(name == "NEWTRUE")
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT":
                stack.append(argument)
            case "BINUNICODE" | "SHORT_BINUNICODE":
                stack.append(argument)
            case "EMPTY_TUPLE" | "EMPTY_LIST" | "EMPTY_DICT" | "MARK":
                kinds = {"EMPTY_TUPLE": tuple, "EMPTY_LIST": list, "EMPTY_DICT": dict}
                stack.append(kinds.get(name, _Marker)())
            case "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "TUPLE":
                stack.append(tuple(self.pop_to_marker()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(self.pop_last(int(name[-1]))))
            case "APPEND":
                self.append_items(self.pop_last(1))
            case "APPENDS":
                self.append_items(self.pop_to_marker())
            case "SETITEM":
                self.set_items(self.pop_last(2))
            case "SETITEMS":
                self.set_items(self.pop_to_marker())
            case "GLOBAL":
                stack.append(Global(argument))
            case "STACK_GLOBAL":
                module, attribute = self.pop_last(2)
                stack.append(Global(f"{module} {attribute}"))
            case "REDUCE":
                self.call()
            case "NEWOBJ":
                self.make_object()
            case "BUILD":
                self.set_state()
            case "BINPERSID":
                self.refer()
            case _:
                raise ValueError(f"its pickle has the instruction {name}, which no tensor needs")

    def pop(self, kind: type) -> Any:
        """Pops the top of the stack, which must be a `kind`."""
        value = self.stack.pop()
        if not isinstance(value, kind):
            raise TypeError(f"{kind.__name__} expected, {type(value).__name__} found")
        return value

    def pop_to_marker(self) -> list[Any]:
        """Pops all items above the last marker, and the marker."""
        items = []
        while not isinstance(item := self.stack.pop(), _Marker):
            items.append(item)
        return items[::-1]

    def pop_last(self, count: int) -> list[Any]:
        """Pops `count` items, the lowest first."""
        return [self.stack.pop() for _ in range(count)][::-1]

    def top(self, kind: type) -> Any:
        """Returns the top of the stack, which must be a `kind`."""
        self.stack.append(value := self.pop(kind))
        return value

    def append_items(self, items: list[Any]) -> None:
        """Appends items to the list below them."""
        self.top(list).extend(items)

    def set_items(self, items: list[Any]) -> None:
        """Adds alternating keys and values to the dict below them."""
        content = self.top(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Hashing nested tuples or long integers can take forever. The keys of an optimizer's
            # state are its parameters.
            small = isinstance(key, str | Tensor) or (isinstance(key, int) and abs(key) < 2**31)
            if not small:
                raise TypeError(f"a dict's key is a {type(key).__name__}")
            content[key] = value

    def call(self) -> None:
        """Executes REDUCE: calls a supported global with its arguments."""
        arguments = self.pop(tuple)
        name = self.pop(Global).name
        if name not in _CALLS:
            raise ValueError(
                f"it calls {_shown(name)}, which no tensor needs; no code was executed"
            )
        self.stack.append(_CALLS[name](*arguments))

    def make_object(self) -> None:
        """Executes NEWOBJ: creates an object of a TorchScript class, or one to skip."""
        self.pop(tuple)
        name = self.pop(Global).name
        if name.startswith(_SKIPPED):
            self.stack.append(Skipped(name))
            return
        if name.partition(".")[0].partition(" ")[0] != "__torch__":
            raise ValueError(
                f"it creates {_shown(name)}, which no tensor needs; no code was executed"
            )
        self.stack.append(Module(name))

    def set_state(self) -> None:
        """Executes BUILD: sets an object's attributes; ignores those of dicts (versions)."""
        state = self.stack.pop()
        target = self.top(object)
        if isinstance(target, Module):
            if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
                raise ValueError(
                    f"an object of {_shown(target.name)} is created by custom code (__setstate__),"
                    " which is not executed; save the model's state_dict() instead"
                )
            target.attributes = state
        elif not isinstance(target, dict | Skipped):
            raise TypeError(f"a {type(target).__name__} has no attributes")

    def refer(self) -> None:
        """Executes BINPERSID: pushes a storage. Before torch 1.6 it may have a view, never used."""
        kind, storage, key, _, count, *view = self.pop(tuple)
        if kind != "storage" or not isinstance(storage, Global) or any(view):
            raise ValueError("its pickle has a persistent id that is not a storage")
        if storage.name not in _DTYPES:
            raise ValueError(f"its storage type {_shown(storage.name)} is not supported")
        if not isinstance(key, str) or not _is_count(count):
            raise TypeError("a storage's key or size")
        found = Storage(_DTYPES[storage.name], key, count)
        if self.storages.setdefault(key, found) != found:
            raise ValueError(f"it declares its storage {_shown(key)} in two ways")
        self.stack.append(found)


def _tensor(storage, offset, shape, strides, requires_grad, hooks, *more):
    """Replaces torch._utils._rebuild_tensor_v2."""
    del requires_grad, hooks
    if not isinstance(storage, Storage) or not all(isinstance(s, tuple) for s in (shape, strides)):
        raise TypeError("a tensor's storage or shape")
    if len(shape) != len(strides) or len(shape) > MOST_AXES:
        raise ValueError(f"a tensor has {len(shape)} axes and {len(strides)} strides")
    if not all(map(_is_count, (offset, *shape, *strides))):
        raise TypeError("a tensor's offset, shape or strides")
    if any(more):
        raise ValueError("a tensor is marked as conjugated or negated, which is not supported")
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if 0 not in shape and last >= storage.size:
        raise ValueError(f"a tensor exceeds its storage {_shown(storage.key)}")
    return Tensor(storage, offset, shape, strides)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and 0 <= value < 2**63


def _ordered_dict(items=()):
    """Replaces collections.OrderedDict, which PyTorch creates empty and fills later."""
    if items:
        raise ValueError("its pickle creates an OrderedDict with items, which is not supported")
    return {}


def _other_dict(*arguments):
    """Replaces collections.defaultdict and Counter, whose content is never used."""
    del arguments
    return {}


def _first(value, *more):
    """Replaces calls that wrap their first argument, such as parameters and typed lists."""
    del more
    return value


def _shown(name: str) -> str:
    return repr(name if len(name) < 80 else name[:77] + "…").replace(" ", ".", 1)


# Optimizers and schedules of PyTorch and of Dassl, which CoOp uses.
_SKIPPED = ("torch.optim.", "dassl.optim.")

_CALLS: dict[str, Callable[..., Any]] = {
    "collections OrderedDict": _ordered_dict,
    "collections defaultdict": _other_dict,
    "collections Counter": _other_dict,
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_parameter": _first,
    "torch Size": _first,
    "torch device": _first,
    **{
        f"torch.jit._pickle {name}": _first
        for name in ("build_tensorlist", "build_intlist", "build_doublelist", "build_boollist")
    },
    "torch.jit._pickle restore_type_tag": _first,
}

"""Reads pickles of lists, dicts and strings as data, without executing anything.

Only the opcodes that build lists, dicts and strings are accepted. Only strings may be memoized:
nested references to one list could expand without bound. A string counts each time it is used,
because callers join them.
"""

import io
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from data_pipelines.errors import DataError
from prompt_jax.storage.files import read_bytes

# MSVD's, the largest published one, has 5 MB: 80,000 captions, 3 million characters.
_MOST_BYTES = 2**26
_MOST_CHARACTERS = 2**26
_MOST_INSTRUCTIONS = 2**23  # MSVD's has three million
_PASSED = {"PROTO", "FRAME", "STOP"}
_TEXTS = {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
# Byte strings of Python 2, whose encoding is not recorded.
_BYTE_TEXTS = {"STRING", "BINSTRING", "SHORT_BINSTRING"}
_MADE: dict[str, Callable[[], Any]] = {"EMPTY_LIST": list, "EMPTY_DICT": dict}


class _Marker:
    """Marks on the stack where the items of a list or dict begin."""


def read_pickle(path: Path, what: str) -> Any:
    """Reads a pickle of lists, dicts with string keys, and strings.

    Args:
        path: the file, of any pickle protocol.
        what: describes the file, for messages.

    Raises:
        DataError: it cannot be read, is not a regular file, is larger than 64 MiB, is damaged,
            contains anything else, or has more than 64 million characters, counting reused strings
            each time.
    """
    try:
        content = read_bytes(path, _MOST_BYTES)
    except OSError as error:
        raise DataError(f"cannot read the {what} {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise DataError(f"cannot read the {what} {path}: {error}") from error
    try:
        return _run(content)
    except (ValueError, IndexError, KeyError, TypeError) as error:
        raise DataError(f"cannot read the {what} {path}: its pickle {_reason(error)}") from error


class _RefusedError(ValueError):
    """An error for a pickle with content that is not allowed."""


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, _RefusedError) else f"is damaged ({error})"


def _run(content: bytes) -> Any:
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    argument: Any
    characters = 0
    for number, (instruction, argument, _) in enumerate(pickletools.genops(io.BytesIO(content))):
        if number == _MOST_INSTRUCTIONS:
            raise _RefusedError(f"has more than {_MOST_INSTRUCTIONS:,} instructions")
        name = instruction.name
        if name in _TEXTS:
            stack.append(argument)
        elif name in _BYTE_TEXTS:
            # The module takes every byte for a character.
            stack.append(argument.encode("latin-1").decode("utf-8"))
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(_text(memo[argument]))
            characters += len(stack[-1])
            if characters > _MOST_CHARACTERS:
                raise _RefusedError(
                    f"uses its texts again for more than {_MOST_CHARACTERS:,} characters"
                )
        elif name == "MARK":
            stack.append(_Marker())
        elif name in _MADE:
            stack.append(_MADE[name]())
        elif name in ("LIST", "DICT"):
            items = _pop_to_marker(stack)
            stack.append(items if name == "LIST" else _filled({}, items))
        elif name in ("APPEND", "APPENDS"):
            items = [stack.pop()] if name == "APPEND" else _pop_to_marker(stack)
            _top(stack, list).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = [stack.pop(), stack.pop()][::-1] if name == "SETITEM" else _pop_to_marker(stack)
            _filled(_top(stack, dict), items)
        elif name not in _PASSED:
            raise _RefusedError(
                f"contains more than lists, dicts and strings ({name}); nothing was executed"
            )
    return stack.pop()


def _pop_to_marker(stack: list[Any]) -> list[Any]:
    items = []
    while not isinstance(item := stack.pop(), _Marker):
        items.append(item)
    return items[::-1]


def _top(stack: list[Any], kind: type) -> Any:
    if not isinstance(stack[-1], kind):
        raise TypeError(f"{kind.__name__} expected, {type(stack[-1]).__name__} found")
    return stack[-1]


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _RefusedError(f"has a {type(value).__name__} as a name, or in two places")
    return value


def _filled(content: dict[str, Any], items: list[Any]) -> dict[str, Any]:
    for key, value in zip(items[::2], items[1::2], strict=True):
        content[_text(key)] = value
    return content

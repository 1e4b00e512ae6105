"""Pickles of plain lists, dicts and texts, read as data: nothing that they name is ever called.

A pickle is a program. Here only the instructions are known that make lists, dicts and texts; all
others are refused. Only texts may be used twice, since lists of one list, a thousand times over,
would have no end; and a text counts each time, since who joins them makes all of it.
"""

import io
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from data_pipelines.errors import DataError
from prompt_jax.storage.files import read_bytes

# The largest published one, MSVD's, has 5 MB: 80,000 captions, 3 million characters.
_MOST_BYTES = 2**26
_MOST_CHARACTERS = 2**26
_MOST_INSTRUCTIONS = 2**23  # three million there; one of a byte makes up to 150
_PASSED = {"PROTO", "FRAME", "STOP"}
_TEXTS = {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
# Of Python 2, which does not say how they are encoded.
_BYTE_TEXTS = {"STRING", "BINSTRING", "SHORT_BINSTRING"}
_MADE: dict[str, Callable[[], Any]] = {"EMPTY_LIST": list, "EMPTY_DICT": dict}


class _Marker:
    """Where the items of a list or dict begin on the stack."""


def read_pickle(path: Path, what: str) -> Any:
    """Read a pickle that holds lists, dicts with texts as keys, and texts.

    Args:
        path: the file, of any of pickle's protocols.
        what: what the file is, for messages.

    Raises:
        DataError: it cannot be read, is no regular file, is larger than 64 MiB, is damaged, holds
            anything else, or more than 64 million characters, with those of texts that it uses
            again.
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
    """What the pickle of a list of captions does not hold."""


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
                f"holds more than lists, dicts and texts ({name}); nothing of it was run"
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

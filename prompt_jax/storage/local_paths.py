"""Paths of this machine, which are nobody else's business, in what is told of a training."""

import pathlib
import re
from collections.abc import Mapping
from typing import Any

# Fields of `Saved.trained` that say a place, whatever it looks like.
_PLACES = ("root", "dir", "folder", "file", "path", "init_from")
# "/data", "~/x", "../x", "C:\x" and "file:…"; and "/home/me/x" in the midst of a text.
_LOCAL = re.compile(
    r"^(?:[/\\]|~\w*[/\\]|\.{1,2}[/\\]|[A-Za-z]:[/\\]|file:)"
    r"|(?<![\w/:.])(?:~|\.{1,2})?/[^\s/]+/"
    r"|(?<!\w)[A-Za-z]:\\"
)
# A model or page that all can see, or a digest.
_PUBLIC = re.compile(r"hf:|https?:|[0-9a-f]{8,64}$")


def leave_out(told: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What is told of a training, without what says a path of this machine.

    Returns:
        The rest, and the fields that are left out, those of inner objects as "config.data.root".
    """
    kept: dict[str, Any] = {}
    left_out: list[str] = []
    for field, value in told.items():
        if _says_path(field):
            left_out.append("a field named by a path")
        elif isinstance(value, Mapping):
            kept[field], inner = leave_out(value)
            left_out += [f"{field}.{name}" for name in inner]
        elif _is_local(field, value):
            left_out.append(field)
        else:
            kept[field] = value
    return kept, tuple(left_out)


def _is_local(field, value):
    if isinstance(value, list | tuple):
        return any(_is_local(field, each) for each in value)
    if isinstance(value, Mapping):
        return bool(leave_out(value)[1])
    if not isinstance(value, str) or not value or _PUBLIC.match(value):
        return False
    return field.endswith(_PLACES) or _says_path(value)


def _says_path(text):
    return bool(_LOCAL.search(text)) or ("/" in text and is_here(text))


def is_here(text: str) -> bool:
    """Whether a file or folder of this path is on this machine."""
    try:
        return pathlib.Path(text).expanduser().exists()
    except (OSError, RuntimeError, ValueError):  # too long, "~" of nobody, a null character
        return False

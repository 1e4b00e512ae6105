"""Removes or shortens local paths, which are private, before anything is shown or shared."""

import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

# Suffixes of fields of `Saved.trained` that hold paths.
_PLACES = ("root", "dir", "folder", "file", "path", "init_from")
# "/data", "~/x", "../x", "C:\x" and "file:…"; and "/home/me/x" inside a text.
_LOCAL = re.compile(
    r"^(?:[/\\]|~\w*[/\\]|\.{1,2}[/\\]|[A-Za-z]:[/\\]|file:)"
    r"|(?<![\w/:.])(?:~|\.{1,2})?/[^\s/]+/"
    r"|(?<!\w)[A-Za-z]:\\"
)
# A public model or page, or a digest.
_PUBLIC = re.compile(r"hf:|https?:|[0-9a-f]{8,64}$")


def remove_paths(trained: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Removes fields with local paths from the record of a training.

    Returns:
        The remaining fields, and the names of those removed, "config.data.root" for nested ones.
    """
    kept: dict[str, Any] = {}
    left_out: list[str] = []
    for field, value in trained.items():
        if _says_path(field):
            left_out.append("a field named by a path")
        elif isinstance(value, Mapping):
            kept[field], inner = remove_paths(value)
            left_out += [f"{field}.{name}" for name in inner]
        elif _is_local(field, value):
            left_out.append(field)
        else:
            kept[field] = value
    return kept, tuple(left_out)


def shorten_path(text: str) -> str:
    """Returns the last part of a text that is a local path, as any other text is returned."""
    found = _LOCAL.search(text)
    if found is None or found.start():
        return text
    return re.split(r"[/\\]", text.rstrip("/\\"))[-1] or text


def shorten_root(text: str, root: str) -> str:
    """Returns a text with the path of a directory replaced by the directory's name."""
    for path in dict.fromkeys((os.path.expanduser(root), root)):
        path = path.rstrip("/")
        if path and shorten_path(path) != path:
            text = text.replace(path, shorten_path(path))
    return text


def _is_local(field, value):
    if isinstance(value, list | tuple):
        return any(_is_local(field, each) for each in value)
    if isinstance(value, Mapping):
        return bool(remove_paths(value)[1])
    if not isinstance(value, str) or not value or _PUBLIC.match(value):
        return False
    return field.endswith(_PLACES) or _says_path(value)


def _says_path(text):
    return bool(_LOCAL.search(text)) or ("/" in text and exists_locally(text))


def exists_locally(text: str) -> bool:
    """Returns whether a file or directory of this path exists."""
    try:
        return pathlib.Path(text).expanduser().exists()
    except (OSError, RuntimeError, ValueError):  # too long, "~" of no user, a null character
        return False

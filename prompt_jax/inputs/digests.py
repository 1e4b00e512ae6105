"""Hashes the images and labels that a model was trained on."""

import hashlib
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from prompt_jax.inputs.contents import Content
from prompt_jax.inputs.preparation import PATHS

_SHORT = 16


def digest(items: Sequence[Any], names: Sequence[str], ordered: bool = False) -> str:
    """Returns a short hash of images or videos with their class names.

    Files are hashed by content, not by path; a file that can no longer be read by its name.

    Args:
        items: images or videos of `preparation.as_items`.
        names: the class name of each.
        ordered: whether the hash depends on the order.
    """
    pairs = [(_digest(item), name) for item, name in zip(items, names, strict=True)]
    found = hashlib.sha256(
        repr(pairs if ordered else sorted(pairs)).encode("utf-8", "backslashreplace")
    )
    return found.hexdigest()[:_SHORT]


def _digest(item: Any) -> str:
    if isinstance(item, PATHS):
        return _of_named(item)
    if isinstance(item, Image.Image):
        start = repr((item.mode, item.size, item.getpalette()))
        return hashlib.sha256(start.encode() + item.tobytes()).hexdigest()
    if isinstance(item, list | tuple):  # the frames of a video
        return hashlib.sha256(repr([_digest(one) for one in item]).encode()).hexdigest()
    if isinstance(item, Content):  # as of the file
        return hashlib.sha256(item.data).hexdigest()
    array = np.ascontiguousarray(item)
    start = repr((str(array.dtype), array.shape))
    return hashlib.sha256(start.encode() + array.tobytes()).hexdigest()


def of_path(path: str | os.PathLike[str]) -> str:
    """Returns the SHA-256 of a file, or of the names and contents of a directory's files.

    Raises:
        OSError: it cannot be read.
    """
    if os.path.isdir(path):
        names = sorted(one.name for one in os.scandir(path) if one.is_file())
        listed = [(name, _of_named(os.path.join(path, name))) for name in names]
        return hashlib.sha256(repr(listed).encode("utf-8", "backslashreplace")).hexdigest()
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _of_named(path: str | os.PathLike[str]) -> str:
    try:
        return of_path(path)
    except OSError:
        return repr(os.path.basename(path))

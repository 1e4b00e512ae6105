"""Reads a directory with one directory per class, for `pj.fit`."""

import os
from pathlib import Path
from typing import Any

from prompt_jax.errors import PromptError, shorten
from prompt_jax.inputs import finding
from prompt_jax.inputs.images.files import count_kinds, subfolders

SPLITS = ("train", "val", "test")


def is_folder(given: Any) -> bool:
    """Returns whether a value is the path of a directory."""
    return isinstance(given, str | os.PathLike) and os.path.isdir(given)


def read(folder: str, videos: bool) -> tuple[list[str], list[str], list[str]]:
    """Returns the images or videos of all classes, the class of each, and notes to the user.

    The name of a class is that of its directory. Links are followed, and hidden files ignored.

    Args:
        folder: the directory.
        videos: whether the classes hold videos, files or directories of frames, instead of images.

    Raises:
        PromptError: there are no directories, or they are splits.
        DataError: a directory cannot be read, or its name is not UTF-8.
    """
    names = subfolders(Path(folder))
    kind = "videos" if videos else "images"
    if not names:
        raise PromptError(
            f"{folder} has no directories; name one with a directory of {kind} for each class, or "
            f"pass the {kind} and labels=[…]"
        )
    if "train" in names and {*names} <= {*SPLITS}:
        raise PromptError(
            f"{folder} has the splits {', '.join(names)}; name that with the training {kind}, "
            f"{os.path.join(folder, 'train')}"
        )
    paths: list[str] = []
    labels: list[str] = []
    others: list[str] = []
    notes: list[str] = []
    for name in names:
        place = os.path.join(folder, name)
        found, beside = (finding.videos_below if videos else finding.images_below)(place)
        others += beside
        if not found:
            notes.append(f"{folder}: {shorten(name)} has no {kind}; this class is left out")
        paths += found
        labels += [name] * len(found)
    if others:
        notes.append(f"{folder}: left out, no suffix of {kind}: {count_kinds(others)}")
    return paths, labels, notes

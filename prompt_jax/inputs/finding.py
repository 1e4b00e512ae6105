"""Finds images and videos at paths from the user."""

import os
import pathlib
from collections.abc import Iterator

from prompt_jax.errors import DataError, PromptError
from prompt_jax.inputs.images.files import (
    count_kinds,
    loose_images,
    split_by_suffix,
    subfolders,
)
from prompt_jax.inputs.videos.opening import SUFFIXES


def find(path: str, videos: bool, left_out: list[str]) -> Iterator[str]:
    """Yields a file, or the files below a directory.

    Args:
        path: the file or directory.
        videos: whether to find videos, by suffix or as directories of frames, instead of images.
        left_out: extended by other files in the directory.

    Raises:
        PromptError: the directory holds none.
        DataError: a directory cannot be read.
    """
    if not os.path.isdir(path):
        yield path
        return
    below, others = videos_below(path) if videos else images_below(path)
    if not below:
        raise PromptError(describe_none(path, "videos" if videos else "images", others))
    left_out += others
    yield from below


def describe_none(path: str, kind: str, others: list[str]) -> str:
    """Returns the message that a directory holds no files of a kind, and which it holds."""
    there = f" (other files: {count_kinds(others)})" if others else ""
    return f"{path}: there are no {kind} in or below this directory{there}"


def images_below(folder: str) -> tuple[list[str], list[str]]:
    """Returns the images in or below a directory, by suffix, and all other files.

    Raises:
        DataError: a directory cannot be read.
    """
    images, others = (
        [os.path.join(folder, name) for name in names]
        for names in split_by_suffix(pathlib.Path(folder))
    )
    return images, others


def videos_below(
    folder: str, visited: frozenset[tuple[int, int]] = frozenset()
) -> tuple[list[str], list[str]]:
    """Returns the videos in or below a directory, sorted: files by suffix, directories of frames.

    Args:
        folder: where to search; links are followed.
        visited: devices and inodes of the directories above, to detect cycles of links.

    Returns:
        Their paths, and those of all other files that are not frames.

    Raises:
        DataError: a directory cannot be read.
    """
    here, status = pathlib.Path(folder), os.stat(folder)
    place = status.st_dev, status.st_ino
    if place in visited:
        return [], []
    frames = set(loose_images(here, any_name=True))
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if entry.is_file())
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror}") from error
    visible = [name for name in names if not name.startswith(".") and name not in frames]
    if frames:
        return [folder], [os.path.join(folder, name) for name in visible]
    found: list[str] = []
    others: list[str] = []
    for name in visible:
        is_video = name.lower().endswith(SUFFIXES)
        (found if is_video else others).append(os.path.join(folder, name))
    for name in subfolders(here, any_name=True):
        below, beside = videos_below(os.path.join(folder, name), visited | {place})
        found, others = found + below, others + beside
    return found, others

"""Finding clips below a folder, whatever folders they lie in there."""

import os
from collections.abc import Callable
from pathlib import Path

from data_pipelines.clips import readers
from data_pipelines.errors import DataError
from data_pipelines.pictures.files import SUFFIXES as PICTURES

# Published lists name clips of further cameras.
SUFFIXES = (*readers.SUFFIXES, ".mts", ".m2ts", ".3g2")


def clip_id(name: str) -> str:
    """A file name, or a name in a list, without the suffix of a clip; dots inside stay."""
    root, suffix = os.path.splitext(name)
    return root if suffix.lower() in (*SUFFIXES, ".") else name


def find_clips(folder: Path, key: Callable[[str], str] = clip_id) -> dict[str, list[str]]:
    """All clips below a folder, by what lists call them.

    A clip is a file with one of `SUFFIXES` in any case, or a folder that holds pictures and no such
    file: its frames. Links are followed, and every real folder is read once, so that links in a
    circle end. Hidden files and folders are passed over.

    Args:
        folder: the folder; it is never itself a clip.
        key: what lists call a clip, from the name of its file or folder of frames.

    Returns:
        Paths relative to `folder`, sorted; more than one where clips have the same name.

    Raises:
        DataError: a folder cannot be read.
    """
    found: dict[str, list[str]] = {}
    visited: set[tuple[int, int]] = set()
    for path, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        status = os.stat(path)
        if (status.st_dev, status.st_ino) in visited:
            folders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        below = os.path.relpath(path, folder)
        clips = [name for name in files if _is(name, SUFFIXES)]
        if not clips and below != "." and any(_is(name, PICTURES) for name in files):
            found.setdefault(key(os.path.basename(path)), []).append(below)
        for name in clips:
            found.setdefault(key(name), []).append(os.path.normpath(os.path.join(below, name)))
        folders[:] = [name for name in folders if not name.startswith(".")]
    return {clip: sorted(paths) for clip, paths in sorted(found.items())}


def _is(name: str, suffixes: tuple[str, ...]) -> bool:
    return name.lower().endswith(suffixes) and not name.startswith(".")


def _refuse(error: OSError) -> None:
    raise DataError(f"cannot read the folder {error.filename}: {error.strerror}") from error

"""Listing the picture files of a folder per class."""

import os
from collections.abc import Iterator
from pathlib import Path

from data_pipelines.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in `folder`, sorted; links to folders count, hidden ones do not.

    Raises:
        DataError: the folder cannot be read, or a name is not UTF-8.
    """
    return [entry.name for entry in _entries(folder) if entry.is_dir()]


def pictures_below(folder: Path) -> list[str]:
    """The picture files of a class, as paths relative to its folder.

    Sorted within each folder, files before folders. Folders in it are read too, and links are
    followed; every real folder is read once, so links in a circle end. Hidden files and files
    with other suffixes than `SUFFIXES` (in any case) are passed over; a link that leads nowhere
    is listed, so that it is reported as a missing picture.

    Raises:
        DataError: a folder cannot be read, or the name of a picture is not UTF-8.
    """
    return list(_walk(folder, "", set()))


def loose_pictures(folder: Path) -> list[str]:
    """The picture files that lie in `folder` itself."""
    return [entry.name for entry in _entries(folder) if _is_picture(entry)]


def _walk(folder: Path, prefix: str, visited: set[tuple[int, int]]) -> Iterator[str]:
    status = folder.stat()
    if (status.st_dev, status.st_ino) in visited:
        return
    visited.add((status.st_dev, status.st_ino))
    entries = _entries(folder)
    yield from (prefix + entry.name for entry in entries if _is_picture(entry))
    for entry in entries:
        if entry.is_dir():
            yield from _walk(folder / entry.name, f"{prefix}{entry.name}/", visited)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            entries = [entry for entry in found if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {error.strerror}") from error
    for entry in entries:
        _check_utf8(folder, entry)
    return sorted(entries, key=lambda entry: entry.name)


def _check_utf8(folder: Path, entry: os.DirEntry[str]) -> None:
    try:
        entry.name.encode("utf-8")
    except UnicodeEncodeError:
        if entry.is_dir() or _is_picture(entry):
            raise DataError(
                f"{folder}: the name {os.fsencode(entry.name)!r} is not valid UTF-8, so it cannot "
                "be written into results; rename it (convmv does whole folders)"
            ) from None


def _is_picture(entry: os.DirEntry[str]) -> bool:
    if not entry.name.lower().endswith(SUFFIXES):
        return False
    return entry.is_file() or (entry.is_symlink() and not entry.is_dir())

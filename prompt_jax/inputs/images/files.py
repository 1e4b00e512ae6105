"""Listing the image files of a folder per class."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from prompt_jax.errors import DataError, escape

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif"),
    *(".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
)


def subfolders(folder: Path, any_name: bool = False) -> list[str]:
    """Names of the folders in `folder`, sorted; links to folders count, hidden ones do not.

    Raises:
        DataError: the folder cannot be read, or, unless `any_name`, a name is not UTF-8.
    """
    return [entry.name for entry in _entries(folder, any_name) if _is_folder(entry)]


def images_below(folder: Path) -> list[str]:
    """The image files of a class, as paths relative to its folder.

    Sorted within each folder, files before folders. Folders in it are read too, and links are
    followed; every real folder is read once, so links in a circle end. Hidden files and files
    with other suffixes than `SUFFIXES` (in any case) are passed over; a link that leads nowhere
    is listed, so that it is reported as a missing image, and so is a pipe or a device.

    Raises:
        DataError: a folder cannot be read, or the name of an image is not UTF-8.
    """
    return [path for path, is_image in _walk(folder, "", set()) if is_image]


def left_out(folder: Path) -> str:
    """What `images_below` passes over in a folder for its suffix, in a sentence; "" if nothing.

    Raises:
        DataError: as `images_below`.
    """
    others = [path for path, is_image in _walk(folder, "", set()) if not is_image]
    if not others:
        return ""
    return (
        f"{folder}: left out, as no images by their suffix: {count_kinds(others)}; convert those "
        "that are images to JPEG or PNG"
    )


def count_kinds(paths: Iterable[str]) -> str:
    """Returns how many files have each suffix, the commonest first: "2 .heic, 1 no suffix"."""
    kinds = Counter(escape(Path(path).suffix.lower()) or "no suffix" for path in paths)
    return ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())


def sort_out(folder: Path) -> tuple[list[str], list[str]]:
    """Returns the images below a folder, as of `images_below`, and all other files.

    Names need not be UTF-8: they are not written into results.

    Raises:
        DataError: a folder cannot be read.
    """
    images: list[str] = []
    others: list[str] = []
    for path, is_image in _walk(folder, "", set(), any_name=True):
        (images if is_image else others).append(path)
    return images, others


def loose_images(folder: Path, any_name: bool = False) -> list[str]:
    """The image files that lie in `folder` itself; arguments and errors as of `subfolders`."""
    return [entry.name for entry in _entries(folder, any_name) if _is_image(entry)]


def _walk(
    folder: Path, prefix: str, visited: set[tuple[int, int]], any_name: bool = False
) -> Iterator[tuple[str, bool]]:
    """Paths of all files, and whether each is an image by its suffix."""
    status = folder.stat()
    if (status.st_dev, status.st_ino) in visited:
        return
    visited.add((status.st_dev, status.st_ino))
    entries = _entries(folder, any_name)
    yield from ((prefix + e.name, _is_image(e)) for e in entries if not _is_folder(e))
    for entry in entries:
        if _is_folder(entry):
            yield from _walk(folder / entry.name, f"{prefix}{entry.name}/", visited, any_name)


def _entries(folder: Path, any_name: bool = False) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            entries = [entry for entry in found if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {error.strerror}") from error
    for entry in [] if any_name else entries:
        _check_utf8(folder, entry)
    return sorted(entries, key=lambda entry: entry.name)


def _check_utf8(folder: Path, entry: os.DirEntry[str]) -> None:
    try:
        entry.name.encode("utf-8")
    except UnicodeEncodeError:
        if _is_folder(entry) or _is_image(entry):
            raise DataError(
                f"{folder}: the name {os.fsencode(entry.name)!r} is not valid UTF-8, so it cannot "
                "be written into results; rename it (convmv does whole folders)"
            ) from None


def _is_image(entry: os.DirEntry[str]) -> bool:
    return entry.name.lower().endswith(SUFFIXES) and not _is_folder(entry)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A link in a circle.
        return False

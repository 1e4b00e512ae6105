"""Lists image files and directories."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from prompt_jax.errors import DataError, escape, installing
from prompt_jax.inputs.images import heic

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif"),
    *(".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
)


def subfolders(folder: Path, any_name: bool = False) -> list[str]:
    """Returns the sorted names of directories in `folder`, with links and without hidden ones.

    Raises:
        DataError: the directory cannot be read, or, unless `any_name`, a name is not UTF-8.
    """
    return [entry.name for entry in _entries(folder, any_name) if _is_folder(entry)]


def images_below(folder: Path) -> list[str]:
    """Returns the image files anywhere below a directory, as paths relative to it.

    Each directory is sorted, files before subdirectories. Links are followed; each real directory
    is read once, so cyclic links end. Hidden files and files with other suffixes than `SUFFIXES`
    (in any case) are skipped; with pillow-heif, those of HEIC are images. Broken links, pipes and
    devices are listed, to be reported.

    Raises:
        DataError: a directory cannot be read, or the name of an image is not UTF-8.
    """
    return [path for path, is_image in _walk(folder, "", set()) if is_image]


def left_out(folder: Path) -> str:
    """Returns a note on files that `images_below` skips for their suffix; "" if there are none.

    Raises:
        DataError: as `images_below`.
    """
    others = [path for path, is_image in _walk(folder, "", set()) if not is_image]
    if not others:
        return ""
    advice = "convert those that are images to JPEG or PNG"
    if any(path.lower().endswith(heic.SUFFIXES) for path in others):
        advice += f", or install pillow-heif for HEIC ({installing('heic')})"
    return f"{folder}: skipped, not an image suffix: {count_kinds(others)}; {advice}"


def count_kinds(paths: Iterable[str]) -> str:
    """Counts files by suffix, the most common first: "2 .heic, 1 no suffix"."""
    kinds = Counter(escape(Path(path).suffix.lower()) or "no suffix" for path in paths)
    return ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())


def split_by_suffix(folder: Path) -> tuple[list[str], list[str]]:
    """Returns the images below a directory, as `images_below`, and all other files.

    Names need not be UTF-8, because they are not written to results.

    Raises:
        DataError: a directory cannot be read.
    """
    images: list[str] = []
    others: list[str] = []
    for path, is_image in _walk(folder, "", set(), any_name=True):
        (images if is_image else others).append(path)
    return images, others


def loose_images(folder: Path, any_name: bool = False) -> list[str]:
    """Returns the image files directly in `folder`; see `subfolders` for arguments and errors."""
    return [entry.name for entry in _entries(folder, any_name) if _is_image(entry)]


def _walk(
    folder: Path, prefix: str, visited: set[tuple[int, int]], any_name: bool = False
) -> Iterator[tuple[str, bool]]:
    """Yields the path of each file, and whether its suffix is an image's."""
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
        raise DataError(f"cannot read the directory {folder}: {error.strerror}") from error
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
                "be written to results; rename it (convmv converts whole directories)"
            ) from None


def _is_image(entry: os.DirEntry[str]) -> bool:
    suffixes = (*SUFFIXES, *heic.SUFFIXES) if heic.is_installed() else SUFFIXES
    return entry.name.lower().endswith(suffixes) and not _is_folder(entry)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A cyclic link.
        return False

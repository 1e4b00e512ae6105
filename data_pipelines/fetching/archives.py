"""Validates and unpacks untrusted zip archives.

An archive is validated before anything is written. Its members stay inside the target directory,
are regular files, do not overwrite each other, and are bounded in size.
"""

import io
import os
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from data_pipelines.errors import DataError, shorten

# The largest data set of the benchmark has 109,000 images.
MOST_ENTRIES = 1_000_000
# Bytes of the central directory, which is read at once; the benchmark's largest has 13 MB.
_MOST_TABLE = 2**26
# Images and videos are hardly compressed: an archive that unpacks to much more is a zip bomb.
MOST_RATIO, _ALWAYS_ALLOWED = 4, 2**28
_LONGEST_NAME, _LONGEST_PATH, _DEEPEST = 255, 1024, 32
_CHUNK = 2**20
_COMPRESSED_AS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 1
# Metadata files of operating systems.
_SYSTEM_FILES = ("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini")

# Errors of zipfile for damaged archives.
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)


class Member(NamedTuple):
    """A file in an archive, with its path and header."""

    path: tuple[str, ...]
    info: zipfile.ZipInfo


class Archive(NamedTuple):
    """A validated archive.

    Attributes:
        path: its path.
        file: the open archive.
        members: its files, without directories and metadata of operating systems.
    """

    path: Path
    file: zipfile.ZipFile
    members: list[Member]


@contextmanager
def opening(path: Path) -> Iterator[Archive]:
    """Opens and validates an archive without unpacking it.

    Raises:
        DataError: it is not a zip archive, is damaged, has too many files or unpacks to too much;
            or a file in it is encrypted, a link or a device, repeated, or has an impossible path or
            one that leaves the archive.
    """
    with _Bounded(io.FileIO(path)) as bounded:
        try:
            file = zipfile.ZipFile(bounded)
        except (OSError, *_DAMAGED) as error:
            raise DataError(
                f"{path} is not a zip archive, or is damaged: {str(error)[:300]}"
            ) from error
        with file:
            yield Archive(path, file, _validate(path, file))


class _Bounded(io.BufferedReader):
    """A file that limits the size of each read."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Reads from the file; raises `BadZipFile` for a size above the limit."""
        if size is None or size < 0:
            size = os.fstat(self.fileno()).st_size - self.tell()
        if size > _MOST_TABLE:
            raise zipfile.BadZipFile(f"a table of {size:,} bytes; the limit is {_MOST_TABLE:,}")
        return super().read(size)


def _validate(path: Path, file: zipfile.ZipFile) -> list[Member]:
    entries = file.infolist()
    if len(entries) > MOST_ENTRIES:
        raise DataError(f"{path} has {len(entries):,} files; the limit is {MOST_ENTRIES:,}")
    size, total = os.path.getsize(path), sum(info.file_size for info in entries)
    if total > (most := MOST_RATIO * size + _ALWAYS_ALLOWED):
        raise DataError(
            f"{path} has {size:,} bytes and unpacks to {total:,}; the limit is {most:,}, because "
            "images are hardly compressed in archives"
        )
    members = []
    for info in entries:
        where = f"{path}: {shorten(info.orig_filename, 200)}"
        parts = _parts(info, where)
        if _is_system_file(parts):
            continue
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise DataError(f"{where} is a link or a device; only regular files are unpacked")
        if info.flag_bits & _ENCRYPTED or info.compress_type not in _COMPRESSED_AS:
            raise DataError(f"{where} is encrypted, or not compressed with deflate")
        if not info.is_dir():
            members.append(Member(parts, info))
    _check_collisions(path, members)
    return members


def _parts(info: zipfile.ZipInfo, where: str) -> tuple[str, ...]:
    """Returns the path of an entry, checked to stay inside the target directory."""
    name = info.orig_filename
    if "\0" in name or "\\" in name:
        raise DataError(f"{where} has a null byte or a backslash in its path")
    parts = tuple(part for part in name.removesuffix("/").split("/") if part != ".")
    if not parts or "" in parts or ".." in parts:
        raise DataError(f"{where} leads out of the archive, or has no name")
    try:
        sizes = [len(part.encode("utf-8")) for part in parts]
    except UnicodeEncodeError:
        raise DataError(f"{where} is not valid Unicode") from None
    if max(sizes) > _LONGEST_NAME or sum(sizes) > _LONGEST_PATH or len(parts) > _DEEPEST:
        raise DataError(f"{where} has a path that is too long")
    return parts


def _is_system_file(parts: tuple[str, ...]) -> bool:
    return not set(_SYSTEM_FILES).isdisjoint(parts) or parts[-1].startswith("._")


def _check_collisions(path: Path, members: list[Member]) -> None:
    files: set[tuple[str, ...]] = set()
    for member in members:
        if member.path in files:
            raise DataError(f"{path}: {shorten('/'.join(member.path))} is in it twice")
        files.add(member.path)
    for member in members:
        above = (member.path[:depth] for depth in range(1, len(member.path)))
        if clash := next((part for part in above if part in files), None):
            raise DataError(f"{path}: {shorten('/'.join(clash))} is a file and a directory")


def unpack(
    archive: Archive, home: tuple[str, ...], into: Path, advance: Callable[[int], object]
) -> None:
    """Unpacks one directory of an archive.

    Args:
        archive: an archive of `opening`.
        home: the directory in the archive; other files are skipped.
        into: an empty directory, to which the paths below `home` are written.
        advance: called with the number of bytes written, for a progress bar.

    Raises:
        DataError: the archive is damaged, or two of its names collide in this file system.
        OSError: the disk is full, or not writable.
    """
    for path, info in archive.members:
        if path[: len(home)] != home:
            continue
        target = into.joinpath(*path[len(home) :])
        where = f"{archive.path}: {shorten('/'.join(path))}"
        target.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        try:
            opened = os.open(target, flags, 0o644)
        except FileExistsError:
            raise DataError(
                f"{where} collides with another file of the archive, because this file system "
                "ignores case"
            ) from None
        with open(opened, "wb", buffering=0) as file:
            for chunk in _read(archive.file, info, where):
                file.write(chunk)
                advance(len(chunk))


def _read(file: zipfile.ZipFile, info: zipfile.ZipInfo, where: str) -> Iterator[bytes]:
    """Yields the bytes of a file in an archive; raises `DataError` if its size is wrong."""
    left = info.file_size
    try:
        with file.open(info) as source:
            while chunk := source.read(_CHUNK):
                left -= len(chunk)
                if left < 0:
                    raise zipfile.BadZipFile("it is larger than declared")
                yield chunk
        if left:
            raise zipfile.BadZipFile("it is smaller than declared")
    except (OSError, *_DAMAGED) as error:
        raise DataError(f"{where} is damaged: {str(error)[:300]}") from error


def find_home(archive: Archive, marker: str) -> tuple[str, ...]:
    """Returns the directory of an archive that contains a data set.

    Args:
        archive: an archive of `opening`.
        marker: a path below the data set's directory that identifies it.

    Raises:
        DataError: no directory, or several, contain the marker.
    """
    wanted = tuple(marker.split("/"))
    homes: dict[tuple[str, ...], None] = {}
    for path, _ in archive.members:
        for depth in range(3):
            if path[depth : depth + len(wanted)] == wanted:
                homes[path[:depth]] = None
    if not homes:
        top = sorted({path[0] for path, _ in archive.members})
        raise DataError(
            f"{archive.path} has no {marker} up to two directories deep; it contains "
            f"{', '.join(map(shorten, top[:10])) or 'no files'}"
        )
    least = min(map(len, homes))
    first = [home for home in homes if len(home) == least]
    if len(first) > 1:
        places = " and ".join(shorten("/".join(home)) for home in first[:3])
        raise DataError(f"{archive.path} contains {marker} in {places}; one data set is expected")
    return first[0]

"""Zip archives of strangers: looked through before anything of them is written, then unpacked.

Nothing in one leaves the directory that it is unpacked into, becomes anything else than a regular
file, takes the place of another, or is larger than its archive allows.
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

# The field's largest set is of 109,000 images.
MOST_ENTRIES = 1_000_000
# Of the table at an archive's end, which is read whole: the largest of the field's has 13 MB.
_MOST_TABLE = 2**26
# Images and videos do not become smaller: what unpacks to much more is no archive of them.
MOST_RATIO, _ALWAYS_ALLOWED = 4, 2**28
_LONGEST_NAME, _LONGEST_PATH, _DEEPEST = 255, 1024, 32
_CHUNK = 2**20
_COMPRESSED_AS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 1
# What systems leave beside people's files.
_LITTER = ("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini")

# What reading a damaged archive raises.
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)


class Member(NamedTuple):
    """A file in an archive: its path, and what the archive says of it."""

    path: tuple[str, ...]
    info: zipfile.ZipInfo


class Archive(NamedTuple):
    """An archive that was looked through.

    Attributes:
        path: where it lies.
        file: to read from.
        members: its files; directories and the litter of systems are left out.
    """

    path: Path
    file: zipfile.ZipFile
    members: list[Member]


@contextmanager
def opening(path: Path) -> Iterator[Archive]:
    """Yields an archive whose table was looked through; nothing is unpacked yet.

    Raises:
        DataError: it is no zip archive or is damaged; a file in it is encrypted, a link or a
            device, has a path that leads out of it or that no file can have, or stands in it twice;
            or they are too many or unpack to too much.
    """
    with _Bounded(io.FileIO(path)) as bounded:
        try:
            file = zipfile.ZipFile(bounded)
        except (OSError, *_DAMAGED) as error:
            raise DataError(
                f"{path} is no zip archive, or is damaged: {str(error)[:300]}"
            ) from error
        with file:
            yield Archive(path, file, _look_through(path, file))


class _Bounded(io.BufferedReader):
    """A file of which no piece is read that would fill the memory."""

    def read(self, size: int | None = -1, /) -> bytes:
        """As of files; raises a BadZipFile for a piece that is too large."""
        if size is None or size < 0:
            size = os.fstat(self.fileno()).st_size - self.tell()
        if size > _MOST_TABLE:
            raise zipfile.BadZipFile(f"a table of {size:,} bytes; at most {_MOST_TABLE:,} are read")
        return super().read(size)


def _look_through(path: Path, file: zipfile.ZipFile) -> list[Member]:
    entries = file.infolist()
    if len(entries) > MOST_ENTRIES:
        raise DataError(f"{path} has {len(entries):,} files; at most {MOST_ENTRIES:,} are unpacked")
    size, total = os.path.getsize(path), sum(info.file_size for info in entries)
    if total > (most := MOST_RATIO * size + _ALWAYS_ALLOWED):
        raise DataError(
            f"{path} has {size:,} bytes and unpacks to {total:,}; at most {most:,} are unpacked, "
            "as images hardly become smaller in archives"
        )
    members = []
    for info in entries:
        where = f"{path}: {shorten(info.orig_filename, 200)}"
        parts = _parts(info, where)
        if _is_litter(parts):
            continue
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise DataError(f"{where} is a link or a device; only regular files are unpacked")
        if info.flag_bits & _ENCRYPTED or info.compress_type not in _COMPRESSED_AS:
            raise DataError(f"{where} is encrypted, or compressed otherwise than by deflate")
        if not info.is_dir():
            members.append(Member(parts, info))
    _refuse_collisions(path, members)
    return members


def _parts(info: zipfile.ZipInfo, where: str) -> tuple[str, ...]:
    """The path of an entry, which stays inside the directory that it is unpacked into."""
    name = info.orig_filename
    if "\0" in name or "\\" in name:
        raise DataError(f"{where} has a null byte or a backslash in its path")
    parts = tuple(part for part in name.removesuffix("/").split("/") if part != ".")
    if not parts or "" in parts or ".." in parts:
        raise DataError(f"{where} leads out of the archive, or has no name")
    try:
        sizes = [len(part.encode("utf-8")) for part in parts]
    except UnicodeEncodeError:
        raise DataError(f"{where} is not text") from None
    if max(sizes) > _LONGEST_NAME or sum(sizes) > _LONGEST_PATH or len(parts) > _DEEPEST:
        raise DataError(f"{where} has a path that is too long")
    return parts


def _is_litter(parts: tuple[str, ...]) -> bool:
    return not set(_LITTER).isdisjoint(parts) or parts[-1].startswith("._")


def _refuse_collisions(path: Path, members: list[Member]) -> None:
    files: set[tuple[str, ...]] = set()
    for member in members:
        if member.path in files:
            raise DataError(f"{path}: {shorten('/'.join(member.path))} stands in it twice")
        files.add(member.path)
    for member in members:
        above = (member.path[:depth] for depth in range(1, len(member.path)))
        if clash := next((part for part in above if part in files), None):
            raise DataError(f"{path}: {shorten('/'.join(clash))} is a file and a directory")


def unpack(
    archive: Archive, home: tuple[str, ...], into: Path, advance: Callable[[int], object]
) -> None:
    """Unpacks what lies in one directory of an archive.

    Args:
        archive: as of `opening`.
        home: the directory; what lies elsewhere is left out.
        into: an empty directory that nobody else writes to; its files get the paths below `home`.
        advance: is told how many bytes were written, for a progress bar.

    Raises:
        DataError: the archive is damaged, or two of its files are one in this file system.
        OSError: there is no room, or it may not be written to.
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
                f"{where} is another file of the archive in this file system, which does not tell "
                "small letters from capitals"
            ) from None
        with open(opened, "wb", buffering=0) as file:
            for chunk in _read(archive.file, info, where):
                file.write(chunk)
                advance(len(chunk))


def _read(file: zipfile.ZipFile, info: zipfile.ZipInfo, where: str) -> Iterator[bytes]:
    """The bytes of a file in an archive; raises a DataError if they are not what it says."""
    left = info.file_size
    try:
        with file.open(info) as source:
            while chunk := source.read(_CHUNK):
                left -= len(chunk)
                if left < 0:
                    raise zipfile.BadZipFile("it is larger than the archive says")
                yield chunk
        if left:
            raise zipfile.BadZipFile("it is smaller than the archive says")
    except (OSError, *_DAMAGED) as error:
        raise DataError(f"{where} is damaged: {str(error)[:300]}") from error


def find_home(archive: Archive, marker: str) -> tuple[str, ...]:
    """Returns the directory of an archive that holds a data set.

    Args:
        archive: as of `opening`.
        marker: a file or directory, as a path below a data set's directory, that it is known by.

    Raises:
        DataError: it lies nowhere in the archive, or in several directories.
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
            f"{archive.path} holds no {marker}, at most two directories deep; in it are "
            f"{', '.join(map(shorten, top[:10])) or 'no files'}"
        )
    least = min(map(len, homes))
    first = [home for home in homes if len(home) == least]
    if len(first) > 1:
        places = " and ".join(shorten("/".join(home)) for home in first[:3])
        raise DataError(f"{archive.path} holds {marker} in {places}; one data set is expected")
    return first[0]

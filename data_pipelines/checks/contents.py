"""Fingerprints images and videos, to detect replaced files and copies.

A video is a file or a directory of frames; a directory is fingerprinted by all of its frames.
"""

import functools
import hashlib
import os
import stat
from pathlib import Path

from data_pipelines.errors import BadVideo, DataError
from prompt_jax.inputs.images.files import loose_images
from prompt_jax.inputs.videos.folders import open_folder

# Bytes of each of three samples of a file; compressed images of equal size differ in any of them.
_PIECE = 2048
# Cached fingerprints, 40 MB at most: every run of a sweep uses the same files.
_MOST_CACHED = 100_000


def identify(path: Path) -> str:
    """Returns a fingerprint of a file or a directory of frames.

    For a file: its size, and a hash of its size and its first, middle and last 2,048 bytes, which
    is several times faster than hashing all of it and misses changes elsewhere. For a directory: a
    hash of the names and sizes of all frames, and of such hashes of the first, middle and last one.

    Raises:
        OSError, DataError: it cannot be read, or is not a regular file or directory.
    """
    if not path.is_dir():
        return f"{os.path.getsize(path)} {_sample(path)}"
    names = _frames(path)
    sizes = [(name, os.path.getsize(path / name)) for name in names]
    looked_at = dict.fromkeys((0, len(names) // 2, len(names) - 1)) if names else ()
    samples = [_sample(path / names[place]) for place in looked_at]
    return hashlib.sha256(repr((sizes, samples)).encode()).hexdigest()


def sizes(path: Path) -> tuple[int, ...]:
    """Returns the size in bytes of a file, or of each frame of a directory in order.

    Raises:
        OSError, DataError: it cannot be read.
    """
    try:
        return tuple(os.path.getsize(file) for file in _files(path))
    except ValueError as error:  # an impossible path, with a null character
        raise DataError(f"{path}: {error}") from error


def digest(path: Path) -> bytes:
    """Returns a hash of all bytes of a file, or of the frames of a directory in order.

    Raises:
        OSError, DataError: it cannot be read, or is not a regular file.
    """
    found = hashlib.sha256()
    for each in _files(path):
        with _open_regular(each) as file:
            found.update(hashlib.file_digest(file, "sha256").digest())
    return found.digest()


def _files(path: Path) -> list[Path]:
    return [path / name for name in _frames(path)] if path.is_dir() else [path]


def _frames(folder: Path) -> list[str]:
    try:
        return list(open_folder(folder).names)
    except BadVideo:  # e.g. names without numbers; reading the video reports it
        return loose_images(folder)


def _sample(path: Path) -> str:
    status = os.stat(path)
    return _cached_sample(os.fspath(path), status.st_size, status.st_mtime_ns, status.st_ino)


@functools.lru_cache(_MOST_CACHED)
def _cached_sample(path: str, size: int, changed: int, number: int) -> str:
    """Hashes samples of a file; `changed` and `number` invalidate the cache of a replaced file."""
    found = hashlib.sha256(str(size).encode())
    with _open_regular(path) as file:
        for place in dict.fromkeys((0, (size - _PIECE) // 2, size - _PIECE)):
            file.seek(max(place, 0))
            found.update(file.read(_PIECE))
    return found.hexdigest()[:16]


def _open_regular(path: str | Path):
    # Without O_NONBLOCK, opening a FIFO waits for its writer.
    opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    file = os.fdopen(opened, "rb", buffering=0)
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        file.close()
        raise DataError(f"{path} is not a regular file")
    return file

"""Finds images and videos to index, and identifies them by their content."""

import dataclasses
import hashlib
import os
import stat
from collections.abc import Iterable, Sequence
from typing import Literal

from prompt_jax.errors import PromptError, unknown
from prompt_jax.inputs import digests, finding
from prompt_jax.inputs.videos.opening import SUFFIXES as VIDEOS
from prompt_jax.storage.files import kind_of

Kind = Literal["image", "video"]
ONLY = ("", "images", "videos")


@dataclasses.dataclass(frozen=True)
class Entry:
    """A file of an index, or a directory of frames.

    Attributes:
        path: absolute.
        kind: "image" or "video".
        hash: SHA-256 of the content; "" if it could not be read.
        stamp: changes with the file, see `stamp_of`.
        row: of its features; -1 if it could not be encoded.
        error: why not, else "".
    """

    path: str
    kind: Kind
    hash: str = ""
    stamp: str = ""
    row: int = -1
    error: str = ""


def find(
    paths: Sequence[str | os.PathLike], videos: bool, only: str, left_out: list[str]
) -> list[tuple[str, Kind]]:
    """Returns the images and videos at some paths, each once, and their kinds.

    Args:
        paths: files and directories, which are searched recursively.
        videos: whether the model takes only videos; then a directory of frames is one, too.
        only: "images", "videos" or "": both. An animation (.gif) is a video, unless only images
            are asked for.
        left_out: extended by other files in the directories.

    Raises:
        PromptError: a directory holds none, or `only` is invalid.
        DataError: a directory cannot be read.
    """
    if only not in ONLY:
        raise unknown("value of only", only, ONLY)
    if videos and only == "images":
        raise PromptError("only='images': this model takes videos; leave it out")
    found: dict[str, Kind] = {}
    for path in [os.fspath(one) for one in paths]:
        if not path:
            raise PromptError("a path is empty; name a file or a directory")
        there, others = _below(path, videos, only)
        left_out += others
        found |= {os.path.abspath(one): kind for one, kind in there.items()}
    if not found:
        raise PromptError("there are no paths; name files or directories")
    return list(found.items())


def _below(path: str, videos: bool, only: str) -> tuple[dict[str, Kind], list[str]]:
    if not os.path.isdir(path):
        is_video = videos or only == "videos" or (not only and path.lower().endswith(VIDEOS))
        return {path: "video" if is_video else "image"}, []
    found: dict[str, Kind]
    if videos:
        below, others = finding.videos_below(path)
        found = dict.fromkeys(below, "video")
    else:
        images, rest = finding.images_below(path)
        of_images = set(images)
        found, others = {}, []
        for name in sorted([*images, *rest]):
            if only != "images" and name.lower().endswith(VIDEOS):
                found[name] = "video"
            elif name in of_images and only != "videos":
                found[name] = "image"
            else:
                others.append(name)
    if not found:
        kinds = only or ("videos" if videos else "images or videos")
        raise PromptError(finding.describe_none(path, kinds, others))
    return found, others


def identify(path: str, kind: Kind, known: Entry | None) -> Entry:
    """Returns an entry with stamp and hash, or with an error; its row is that of `known`.

    Args:
        path: absolute path.
        kind: its kind.
        known: the entry that this path had before. With the same stamp, the file is not read.
    """
    try:
        path.encode("utf-8")
        stamp = stamp_of(path)
        if known and known.row >= 0 and (known.kind, known.stamp) == (kind, stamp):
            return known
        return Entry(path, kind, digests.of_path(path), stamp)
    except UnicodeEncodeError:
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        return Entry(shown, kind, error="its name is not valid UTF-8; rename it (convmv)")
    except FileNotFoundError:
        return Entry(path, kind, error="no such file")
    except OSError as error:
        return Entry(path, kind, error=error.strerror or str(error))


def stamp_of(path: str) -> str:
    """Returns a text that changes whenever a file, or a file of a directory, is written.

    It has the size and the times of the last change of the content and of the inode; the second
    also changes if a tool restores the first.

    Raises:
        OSError: it cannot be read, or is neither a regular file nor a directory.
    """
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        names = sorted(entry.name for entry in os.scandir(path) if entry.is_file())
        stamps = (f"{name}\0{stamp_of(os.path.join(path, name))}\0" for name in names)
        return _hash(stamps)
    if kind := kind_of(status.st_mode):
        raise OSError(0, f"it is {kind}, not a file")
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}"


def _hash(parts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()

"""Finds videos anywhere below a directory."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from data_pipelines.errors import DataError, escape
from data_pipelines.images.readers import backslash_advice
from prompt_jax.inputs.images.files import SUFFIXES as IMAGES
from prompt_jax.inputs.images.files import count_kinds
from prompt_jax.inputs.videos.opening import SUFFIXES

_SHOWN = 10


def video_id(name: str) -> str:
    """Removes the suffix of a video from a name; other dots stay."""
    root, suffix = os.path.splitext(name)
    return root if suffix.lower() in (*SUFFIXES, ".") else name


def find_videos(folder: Path, key: Callable[[str], str] = video_id) -> dict[str, list[str]]:
    """Finds all videos below a directory.

    A video is a file with one of `SUFFIXES` (in any case), or a directory of frames: one with
    images and no such file. Links are followed; each real directory is read once, so cyclic links
    end. Hidden files and directories are skipped.

    Args:
        folder: the directory; never itself a video.
        key: returns a video's id from the name of its file or directory of frames.

    Returns:
        Id to paths relative to `folder`, sorted; several paths if videos share an id.

    Raises:
        DataError: a directory cannot be read.
    """
    found: dict[str, list[str]] = {}
    for path, _ in _walk(folder):
        if path:
            found.setdefault(key(os.path.basename(path)), []).append(path)
    return {video: sorted(paths) for video, paths in sorted(found.items())}


def videos_below(folder: Path) -> list[str]:
    """Returns the sorted paths of all videos of `find_videos`; raises the same errors."""
    return sorted(path for path, _ in _walk(folder) if path)


def loose_videos(folder: Path) -> list[str]:
    """Returns the video files directly in `folder`, sorted; raises the errors of `find_videos`."""
    loose = (path for path in videos_below(folder) if os.path.basename(path) == path)
    return [path for path in loose if not os.path.isdir(folder / path)]


def left_out(folder: Path) -> str:
    """Returns a note on files that `find_videos` skips in a directory; "" if there are none."""
    others = [name for _, names in _walk(folder) for name in names]
    if not others:
        return ""
    return f"{folder}: skipped, not a video suffix: {count_kinds(others)}"


def _walk(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Yields (path of a video, []) and ("", names of other files) for each directory."""
    visited: set[tuple[int, int]] = set()
    for path, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        status = os.stat(path)
        if (status.st_dev, status.st_ino) in visited:
            folders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        below = os.path.relpath(path, folder)
        files = [name for name in files if not name.startswith(".")]
        videos = [name for name in files if _is(name, SUFFIXES)]
        others = [name for name in files if not _is(name, SUFFIXES)]
        if not videos and below != "." and any(_is(name, IMAGES) for name in files):
            yield below, []
            others = [name for name in others if not _is(name, IMAGES)]
        for name in videos:
            yield os.path.normpath(os.path.join(below, name)), []
        yield "", others
        folders[:] = [name for name in folders if not name.startswith(".")]


def choose_files(name: str, home: Path, candidates: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Returns the file of each listed video, or its id if it has no file.

    Args:
        name: the data set's name, for messages.
        home: the directory that was searched.
        candidates: the id of each listed video and its possible paths below `home`.

    Raises:
        DataError: a video has several files, or no video has any.
    """
    twice = [video for video, paths in candidates.items() if len(paths) > 1]
    if twice:
        shown = "".join(f"\n  {' and '.join(candidates[video])}" for video in twice[:_SHOWN])
        more = f"\n  … and {len(twice) - _SHOWN} more" if len(twice) > _SHOWN else ""
        raise DataError(
            f"{name}: {len(twice)} videos have several files below {home}; keep one of each:"
            f"{shown}{more}"
        )
    if not any(candidates.values()):
        raise DataError(
            f"{name}: none of the {len(candidates)} listed videos, e.g. "
            f"{escape(next(iter(candidates)))}, is below {home}; "
            + (
                backslash_advice(candidates)
                or "put the videos, or a link to their directory, there"
            )
        )
    return {video: paths[0] if paths else video for video, paths in candidates.items()}


def _is(name: str, suffixes: tuple[str, ...]) -> bool:
    return name.lower().endswith(suffixes)


def _refuse(error: OSError) -> None:
    raise DataError(f"cannot read the directory {error.filename}: {error.strerror}") from error

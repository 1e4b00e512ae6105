"""Finding videos below a folder, whatever folders they lie in there."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from data_pipelines.errors import DataError, escape
from data_pipelines.images.readers import on_backslashes
from prompt_jax.inputs.images.files import SUFFIXES as IMAGES
from prompt_jax.inputs.images.files import count_kinds
from prompt_jax.inputs.videos.opening import SUFFIXES

_SHOWN = 10


def video_id(name: str) -> str:
    """A file name, or a name in a list, without the suffix of a video; dots inside stay."""
    root, suffix = os.path.splitext(name)
    return root if suffix.lower() in (*SUFFIXES, ".") else name


def find_videos(folder: Path, key: Callable[[str], str] = video_id) -> dict[str, list[str]]:
    """All videos below a folder, by what lists call them.

    A video is a file with one of `SUFFIXES` in any case, or a folder that holds images and no such
    file: its frames. Links are followed, and every real folder is read once, so that links in a
    circle end. Hidden files and folders are passed over.

    Args:
        folder: the folder; it is never itself a video.
        key: what lists call a video, from the name of its file or folder of frames.

    Returns:
        Paths relative to `folder`, sorted; more than one where videos have the same name.

    Raises:
        DataError: a folder cannot be read.
    """
    found: dict[str, list[str]] = {}
    for path, _ in _walk(folder):
        if path:
            found.setdefault(key(os.path.basename(path)), []).append(path)
    return {video: sorted(paths) for video, paths in sorted(found.items())}


def videos_below(folder: Path) -> list[str]:
    """The paths of `find_videos` whatever they are called, sorted; errors as there."""
    return sorted(path for path, _ in _walk(folder) if path)


def loose_videos(folder: Path) -> list[str]:
    """The video files that lie in `folder` itself, sorted; errors as of `find_videos`."""
    loose = (path for path in videos_below(folder) if os.path.basename(path) == path)
    return [path for path in loose if not os.path.isdir(folder / path)]


def left_out(folder: Path) -> str:
    """What `find_videos` passes over in a folder, in a sentence; "" if nothing."""
    others = [name for _, names in _walk(folder) for name in names]
    if not others:
        return ""
    return f"{folder}: left out, as no videos by their suffix: {count_kinds(others)}"


def _walk(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Each video's path below a folder, with no names; "", with those of other files beside it."""
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
    """The file of each video that is listed; for one that has none, what the list calls it.

    Args:
        name: the data set's name, for messages.
        home: the folder that was looked through.
        candidates: what a list calls a video, and the paths below `home` that may be it.

    Raises:
        DataError: a video has several files, or none of the videos has one.
    """
    twice = [video for video, paths in candidates.items() if len(paths) > 1]
    if twice:
        shown = "".join(f"\n  {' and '.join(candidates[video])}" for video in twice[:_SHOWN])
        more = f"\n  … and {len(twice) - _SHOWN} more" if len(twice) > _SHOWN else ""
        raise DataError(
            f"{name}: {len(twice)} videos have several files below {home}; keep one of each there:"
            f"{shown}{more}"
        )
    if not any(candidates.values()):
        raise DataError(
            f"{name}: none of the {len(candidates)} videos that its lists name, e.g. "
            f"{escape(next(iter(candidates)))}, is below {home}; "
            + (on_backslashes(candidates) or "put the videos, or a link to their folder, there")
        )
    return {video: paths[0] if paths else video for video, paths in candidates.items()}


def _is(name: str, suffixes: tuple[str, ...]) -> bool:
    return name.lower().endswith(suffixes)


def _refuse(error: OSError) -> None:
    raise DataError(f"cannot read the folder {error.filename}: {error.strerror}") from error

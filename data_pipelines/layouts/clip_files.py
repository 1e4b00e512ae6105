"""Finding clips below a folder, whatever folders they lie in there."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from data_pipelines.errors import DataError, escape
from data_pipelines.images.readers import on_backslashes
from prompt_jax.inputs.images.files import SUFFIXES as PICTURES
from prompt_jax.inputs.images.files import count_kinds
from prompt_jax.inputs.videos.opening import SUFFIXES

_SHOWN = 10


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
    for path, _ in _walk(folder):
        if path:
            found.setdefault(key(os.path.basename(path)), []).append(path)
    return {clip: sorted(paths) for clip, paths in sorted(found.items())}


def clips_below(folder: Path) -> list[str]:
    """The paths of `find_clips` whatever they are called, sorted; errors as there."""
    return sorted(path for path, _ in _walk(folder) if path)


def loose_clips(folder: Path) -> list[str]:
    """The clip files that lie in `folder` itself, sorted; errors as of `find_clips`."""
    loose = (path for path in clips_below(folder) if os.path.basename(path) == path)
    return [path for path in loose if not os.path.isdir(folder / path)]


def left_out(folder: Path) -> str:
    """What `find_clips` passes over in a folder, in a sentence; "" if nothing."""
    others = [name for _, names in _walk(folder) for name in names]
    if not others:
        return ""
    return f"{folder}: left out, as no clips by their suffix: {count_kinds(others)}"


def _walk(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Each clip's path below a folder, with no names; "", with those of other files beside it."""
    visited: set[tuple[int, int]] = set()
    for path, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        status = os.stat(path)
        if (status.st_dev, status.st_ino) in visited:
            folders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        below = os.path.relpath(path, folder)
        files = [name for name in files if not name.startswith(".")]
        clips = [name for name in files if _is(name, SUFFIXES)]
        others = [name for name in files if not _is(name, SUFFIXES)]
        if not clips and below != "." and any(_is(name, PICTURES) for name in files):
            yield below, []
            others = [name for name in others if not _is(name, PICTURES)]
        for name in clips:
            yield os.path.normpath(os.path.join(below, name)), []
        yield "", others
        folders[:] = [name for name in folders if not name.startswith(".")]


def choose_files(name: str, home: Path, candidates: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The file of each clip that is listed; for one that has none, what the list calls it.

    Args:
        name: the data set's name, for messages.
        home: the folder that was looked through.
        candidates: what a list calls a clip, and the paths below `home` that may be it.

    Raises:
        DataError: a clip has several files, or none of the clips has one.
    """
    twice = [clip for clip, paths in candidates.items() if len(paths) > 1]
    if twice:
        shown = "".join(f"\n  {' and '.join(candidates[clip])}" for clip in twice[:_SHOWN])
        more = f"\n  … and {len(twice) - _SHOWN} more" if len(twice) > _SHOWN else ""
        raise DataError(
            f"{name}: {len(twice)} clips have several files below {home}; keep one of each there:"
            f"{shown}{more}"
        )
    if not any(candidates.values()):
        raise DataError(
            f"{name}: none of the {len(candidates)} clips that its lists name, e.g. "
            f"{escape(next(iter(candidates)))}, is below {home}; "
            + (on_backslashes(candidates) or "put the clips, or a link to their folder, there")
        )
    return {clip: paths[0] if paths else clip for clip, paths in candidates.items()}


def _is(name: str, suffixes: tuple[str, ...]) -> bool:
    return name.lower().endswith(suffixes)


def _refuse(error: OSError) -> None:
    raise DataError(f"cannot read the folder {error.filename}: {error.strerror}") from error

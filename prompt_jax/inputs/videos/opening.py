"""Opens a video, a file or a directory of frames."""

import os
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from PIL import Image

from prompt_jax.errors import BadImage, BadVideo, DataError, installing
from prompt_jax.inputs.videos.folders import open_folder

SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".3gp", ".3g2", ".mkv", ".webm", ".avi", ".gif"),
    *(".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".flv", ".wmv", ".ogv"),
)


class Video(Protocol):
    """An open video, whose frames are not decoded yet."""

    @property
    def count(self) -> int:
        """The number of frames, at least 1."""

    @property
    def rate(self) -> float | None:
        """Frames per second; None if unknown."""

    def frames(self, indices: Sequence[int]) -> Iterator[Image.Image]:
        """Yields frames in RGB, one at a time, so that a long video needs little memory.

        Args:
            indices: from 0 to `count` - 1, ascending; an index may be repeated.

        Raises:
            BadImage: from `next`.
        """


def open_any(path: Path, upright: bool = True, span: tuple[float, float] | None = None) -> Video:
    """Opens a video, or a part of it.

    Args:
        path: a file or a directory of frames.
        upright: whether to rotate frames as the file says, as players and decord do.
        span: (start, end) in seconds; None: all of it.

    Raises:
        BadVideo: it cannot be read.
        DataError: it is a file, and PyAV is not installed.
    """
    if os.path.isdir(path):
        return open_folder(path, upright, span)
    try:
        from prompt_jax.inputs.videos.decoding import open_video
    except ImportError as error:
        raise DataError(
            f"videos are read with PyAV, which cannot be imported ({error}); install it: "
            f"{installing('video')}"
        ) from None
    return open_video(path, upright, span)


@dataclass(frozen=True)
class Temporary:
    """A video in a temporary file, which is removed with it.

    Attributes:
        video: the open video.
        name: its name in messages.
    """

    video: Video
    name: str

    @property
    def count(self) -> int:
        """The number of frames."""
        return self.video.count

    @property
    def rate(self) -> float | None:
        """Frames per second; None if unknown."""
        return self.video.rate

    def frames(self, indices: Sequence[int]) -> Iterator[Image.Image]:
        """Yields frames; see `Video`."""
        try:
            yield from self.video.frames(indices)
        except BadImage as bad:
            raise BadVideo(self.name, bad.reason) from bad


def open_content(data: bytes, name: str, upright: bool = True) -> Video:
    """Opens a video whose file is in memory; it is written to a temporary file, as FFmpeg seeks.

    Args:
        data: the content of the file.
        name: its name in messages.
        upright: see `open_any`.

    Raises:
        BadVideo, DataError: see `open_any`.
    """
    opened, place = tempfile.mkstemp(prefix="prompt_jax-", suffix=".video")
    path = Path(place)
    try:
        with open(opened, "wb") as file:
            file.write(data)
        video = Temporary(open_any(path, upright), name)
    except BaseException as error:
        path.unlink()
        if isinstance(error, BadVideo):
            raise BadVideo(name, error.reason) from error
        raise
    weakref.finalize(video, path.unlink, missing_ok=True)
    return video


def frames_in_order(video: Video, indices: Sequence[int]) -> Iterable[Image.Image]:
    """Returns frames of a video at indices in any order, decoding it once."""
    ascending = sorted(indices)
    if list(indices) == ascending:
        return video.frames(indices)
    found = dict(zip(ascending, video.frames(ascending), strict=True))
    return [found[index] for index in indices]

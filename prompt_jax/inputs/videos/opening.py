"""Opening a video, whether a file or a directory of frames."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from PIL import Image

from prompt_jax.errors import DataError, installing
from prompt_jax.inputs.videos.folders import open_folder

SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".3gp", ".3g2", ".mkv", ".webm", ".avi", ".gif"),
    *(".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".flv", ".wmv", ".ogv"),
)


class Video(Protocol):
    """A video that was opened: what it holds is known, and no frame decoded yet."""

    @property
    def count(self) -> int:
        """How many frames there are, at least 1."""

    @property
    def rate(self) -> float | None:
        """Frames a second; None where it is not known."""

    def frames(self, indices: Sequence[int]) -> Iterator[Image.Image]:
        """Frames in RGB, one at a time, so that a long video takes no more memory than one frame.

        Args:
            indices: from 0 to `count` - 1, ascending; an index may be repeated.

        Raises:
            BadImage: from `next`.
        """


def open_any(path: Path, upright: bool = True, span: tuple[float, float] | None = None) -> Video:
    """The video of a file or directory, or the part of it from second to second.

    Args:
        path: what holds it.
        upright: whether frames are turned as the file says, which players and decord do too.
        span: seconds, from and to; None for all of it.

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

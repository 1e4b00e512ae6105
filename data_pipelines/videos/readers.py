"""Reads videos, with a cache of decoded frames."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from data_pipelines.examples import Example
from data_pipelines.images.readers import Store
from prompt_jax.inputs.videos.folders import FrameFolder
from prompt_jax.inputs.videos.opening import Video, open_any

# An open video keeps for each frame its time and the frame at which decoding begins.
_BYTES_PER_FRAME = 16


@dataclass(frozen=True)
class VideoReader:
    """Reads videos, files or directories of frames, of one directory (`Dataset.read`).

    Attributes:
        folder: the directory of `Example.image`.
        upright: whether frames are rotated as the file says, as players and decord do.
    """

    folder: Path
    upright: bool = True

    def __call__(self, example: Example) -> Video:
        """Opens the example's video, or the part in `Example.span`.

        Raises:
            BadImage: it cannot be read.
            DataError: it is a file, and PyAV is not installed.
        """
        return open_any(self.folder / example.image, self.upright, example.span)

    def check(self, example: Example) -> None:
        """Checks the example's file, decoding only the first frame; raises `BadImage`."""
        video = self(example)
        if isinstance(video, FrameFolder):
            video.check()
        next(video.frames([0]))

    def decode(self, example: Example) -> None:
        """Decodes all frames; raises `BadImage`."""
        video = self(example)
        for _ in video.frames(range(video.count)):
            pass


class CachedVideos:
    """Keeps decoded frames in memory up to a limit (`Dataset.read`); thread-safe."""

    def __init__(self, read: Callable[[Example], Video], max_bytes: int):
        """Caches the frames of videos of `read`, up to `max_bytes` bytes."""
        self.read = read
        self.store = Store(max_bytes)

    def __call__(self, example: Example) -> Video:
        """Returns the example's video; its frames are shared (do not modify); raises `BadImage`."""
        key = (example.image, example.span)
        video = self.store.get(key)
        if video is None:
            video = CachedVideo(self.read(example), self.store, key)
            self.store.keep(key, video, _BYTES_PER_FRAME * video.count)
        return video


@dataclass(frozen=True)
class CachedVideo:
    """A video whose frames are decoded once, if the store has room for them.

    Attributes:
        video: the wrapped video.
        store: keeps its frames.
        key: the video's key in the store.
    """

    video: Video
    store: Store
    key: tuple[str, tuple[float, float] | None]

    @property
    def count(self) -> int:
        """The number of frames."""
        return self.video.count

    @property
    def rate(self) -> float | None:
        """Frames per second; None if unknown."""
        return self.video.rate

    def frames(self, indices: Sequence[int]) -> Iterator[Image.Image]:
        """Yields frames in RGB; decodes only those that are not cached."""
        kept = {index: self.store.get((self.key, index)) for index in indices}
        decoded = self.video.frames([index for index, frame in kept.items() if frame is None])
        for index, repeated in itertools.groupby(indices):
            frame = kept[index]
            if frame is None:
                frame = next(decoded)
                self.store.keep_image((self.key, index), frame)
            for _ in repeated:
                yield frame

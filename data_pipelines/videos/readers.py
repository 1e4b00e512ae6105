"""Readers of videos."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from data_pipelines.examples import Example
from data_pipelines.images.readers import Store
from prompt_jax.inputs.videos.folders import FrameFolder
from prompt_jax.inputs.videos.opening import Video, open_any

# What a video that is opened keeps of each frame: when it is shown, and where decoding begins.
_BYTES_PER_FRAME = 16


@dataclass(frozen=True)
class VideoReader:
    """`Dataset.read` for videos that are files, or folders of frames, in one folder.

    Attributes:
        folder: what `Example.image` is relative to.
        upright: whether frames are turned as the file says, which players and decord do too.
    """

    folder: Path
    upright: bool = True

    def __call__(self, example: Example) -> Video:
        """The example's video, or the part of it that `Example.span` names.

        Raises:
            BadImage: it cannot be read.
            DataError: it is a file, and PyAV is not installed.
        """
        return open_any(self.folder / example.image, self.upright, example.span)

    def check(self, example: Example) -> None:
        """Look at its file, of which the first frame alone is decoded; raises `BadImage`."""
        video = self(example)
        if isinstance(video, FrameFolder):
            video.check()
        next(video.frames([0]))

    def decode(self, example: Example) -> None:
        """Decode all of its frames; raises `BadImage`."""
        video = self(example)
        for _ in video.frames(range(video.count)):
            pass


class CachedVideos:
    """`Dataset.read` that keeps decoded frames in memory, up to a bound; thread-safe."""

    def __init__(self, read: Callable[[Example], Video], max_bytes: int):
        """Cache the frames of what `read` returns, up to `max_bytes` bytes."""
        self.read = read
        self.store = Store(max_bytes)

    def __call__(self, example: Example) -> Video:
        """The example's video, whose frames are shared (not to be changed); raises `BadImage`."""
        key = (example.image, example.span)
        video = self.store.get(key)
        if video is None:
            video = CachedVideo(self.read(example), self.store, key)
            self.store.keep(key, video, _BYTES_PER_FRAME * video.count)
        return video


@dataclass(frozen=True)
class CachedVideo:
    """A video whose frames are decoded once, as far as the store has room for them.

    Attributes:
        video: the video itself.
        store: where its frames are kept.
        key: the video's own in the store.
    """

    video: Video
    store: Store
    key: tuple[str, tuple[float, float] | None]

    @property
    def count(self) -> int:
        """As of `Video`."""
        return self.video.count

    @property
    def rate(self) -> float | None:
        """As of `Video`."""
        return self.video.rate

    def frames(self, indices: Sequence[int]) -> Iterator[Image.Image]:
        """As of `Video`."""
        kept = {index: self.store.get((self.key, index)) for index in indices}
        decoded = self.video.frames([index for index, frame in kept.items() if frame is None])
        for index, repeated in itertools.groupby(indices):
            frame = kept[index]
            if frame is None:
                frame = next(decoded)
                self.store.keep_image((self.key, index), frame)
            for _ in repeated:
                yield frame

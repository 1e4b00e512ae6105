"""Readers of clips."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from data_pipelines.examples import Example
from data_pipelines.images.readers import Store
from prompt_jax.inputs.videos.folders import FrameFolder
from prompt_jax.inputs.videos.opening import Clip, open_any

# What a clip that is opened keeps of each frame: when it is shown, and where decoding begins.
_BYTES_PER_FRAME = 16


@dataclass(frozen=True)
class ClipReader:
    """`Dataset.read` for clips that are files, or folders of frames, in one folder.

    Attributes:
        folder: what `Example.picture` is relative to.
        upright: whether frames are turned as the file says, which players and decord do too.
    """

    folder: Path
    upright: bool = True

    def __call__(self, example: Example) -> Clip:
        """The example's clip, or the part of it that `Example.span` names.

        Raises:
            BadPicture: it cannot be read.
            DataError: it is a file, and PyAV is not installed.
        """
        return open_any(self.folder / example.picture, self.upright, example.span)

    def check(self, example: Example) -> None:
        """Look at its file, of which the first frame alone is decoded; raises `BadPicture`."""
        clip = self(example)
        if isinstance(clip, FrameFolder):
            clip.check()
        next(clip.frames([0]))

    def decode(self, example: Example) -> None:
        """Decode all of its frames; raises `BadPicture`."""
        clip = self(example)
        for _ in clip.frames(range(clip.count)):
            pass


class CachedClips:
    """`Dataset.read` that keeps decoded frames in memory, up to a bound; thread-safe."""

    def __init__(self, read: Callable[[Example], Clip], max_bytes: int):
        """Cache the frames of what `read` returns, up to `max_bytes` bytes."""
        self.read = read
        self.store = Store(max_bytes)

    def __call__(self, example: Example) -> Clip:
        """The example's clip, whose frames are shared (not to be changed); raises `BadPicture`."""
        key = (example.picture, example.span)
        clip = self.store.get(key)
        if clip is None:
            clip = CachedClip(self.read(example), self.store, key)
            self.store.keep(key, clip, _BYTES_PER_FRAME * clip.count)
        return clip


@dataclass(frozen=True)
class CachedClip:
    """A clip whose frames are decoded once, as far as the store has room for them.

    Attributes:
        clip: the clip itself.
        store: where its frames are kept.
        key: the clip's own in the store.
    """

    clip: Clip
    store: Store
    key: tuple[str, tuple[float, float] | None]

    @property
    def count(self) -> int:
        """As of `Clip`."""
        return self.clip.count

    @property
    def rate(self) -> float | None:
        """As of `Clip`."""
        return self.clip.rate

    def frames(self, indices: Sequence[int]) -> Iterator[Image.Image]:
        """As of `Clip`."""
        kept = {index: self.store.get((self.key, index)) for index in indices}
        decoded = self.clip.frames([index for index, frame in kept.items() if frame is None])
        for index, repeated in itertools.groupby(indices):
            frame = kept[index]
            if frame is None:
                frame = next(decoded)
                self.store.keep_picture((self.key, index), frame)
            for _ in repeated:
                yield frame

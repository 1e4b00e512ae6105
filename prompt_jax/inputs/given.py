"""What a person hands over as images or videos, checked, and made into the image tower's input.

An image is a path, a Pillow image, uint8[H, W, 3] of any size, or float[S, S, 3] that is
normalized already. A video is the path of a file or of a directory of frames, a list of Pillow
images, uint8[F, H, W, 3], or float[F, S, S, 3] that is normalized already.
"""

import functools
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from prompt_jax.errors import BadImage, BadVideo, PromptError, unknown
from prompt_jax.inputs.images.decoding import as_rgb, open_image
from prompt_jax.inputs.images.greys import UnknownWhite
from prompt_jax.inputs.images.preprocessing import (
    CHANNELS,
    CLIP,
    Interpolation,
    Middle,
    Preprocessing,
    Resize,
    Stats,
)
from prompt_jax.inputs.images.transforms import test_transform
from prompt_jax.inputs.videos import sampling, transforms, vifi
from prompt_jax.inputs.videos.opening import Video, open_any

Crop = Literal["clip", "vifi"]
CROPS = {"clip": transforms.test_transform, "vifi": vifi.test_transform}
# No normalized image is beyond either: black is -1.8 as CLIP has it, white 2.1.
FARTHEST, MOST_TIMES = 10.0, 4.0
PATHS = (str, os.PathLike)


@dataclass(frozen=True)
class Inputs:
    """How an image or video becomes what the image tower takes.

    The defaults of fields that came later are what was done before there were any.

    Attributes:
        image_size: S, pixels of a side of what the tower takes.
        mean, std: of each channel (RGB, in 0..1), what is subtracted and divided by.
        stats: the name that mean and std have here; "" where they have none.
        frames: F, of a video; 0 of images.
        frame_rule: which frames of a video; see `videos.sampling`. "" of images.
        crop: of videos also "vifi", see `videos.vifi`; it resizes and cuts in its own way.
        resize, resize_to, interpolation, fill, middle: see `images.preprocessing`.
        upright: whether images and frames of files are turned as the files say.

    Raises:
        PromptError: a field holds what it may not, or contradicts another one.
    """

    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    stats: Stats = "clip"
    frames: int = 0
    frame_rule: str = ""
    crop: str = "clip"
    resize: Resize = "shortest"
    resize_to: int = 0
    interpolation: Interpolation = "bicubic"
    fill: int = 0
    middle: Middle = "rounded"
    upright: bool = True

    def __post_init__(self):
        """Checks how images are prepared."""
        named = self.preprocessing.stats
        if self.stats != named:
            raise PromptError(
                f"stats={self.stats!r}, but mean={self.mean} and std={self.std} are "
                f"{f'those of {named!r}' if named else 'none that have a name'}"
            )
        if self.crop not in CROPS:
            raise unknown("crop", str(self.crop), CROPS)

    @classmethod
    def of(
        cls,
        image_size: int,
        preprocessing: Preprocessing = CLIP,
        frames: int = 0,
        frame_rule: str = "",
        crop: str = "clip",
        upright: bool = True,
    ) -> "Inputs":
        """With the fields of a `Preprocessing`."""
        own: dict[str, Any] = {**vars(preprocessing), "stats": preprocessing.stats}
        return cls(
            image_size,
            frames=frames,
            frame_rule=frame_rule,
            crop=crop,
            upright=upright,
            **own,
        )

    @functools.cached_property
    def preprocessing(self) -> Preprocessing:
        """How an image is resized, cut out and normalized."""
        own = {field.name: getattr(self, field.name) for field in fields(Preprocessing)}
        return Preprocessing(**own)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one image or video, without the batch."""
        frames = (self.frames,) if self.frames else ()
        return (*frames, self.image_size, self.image_size, CHANNELS)

    @property
    def kind(self) -> str:
        """ "clip" or "image"."""
        return "video" if self.frames else "image"


def as_items(given: Any, inputs: Inputs) -> list[Any]:
    """One image or video, or several, as a list of single ones.

    Raises:
        PromptError: it is nothing of what an image or video can be, or an array of another number
            of axes.
    """
    one = len(inputs.shape)
    if isinstance(given, (*PATHS, Image.Image)):
        return [given]
    if hasattr(given, "shape") and hasattr(given, "dtype"):
        array = _as_array(given)
        if array.dtype.kind in "OTU" and array.ndim == 1:  # paths; pandas and NumPy have them so
            return array.tolist()
        if array.ndim == one:
            return [array]
        if array.ndim == one + 1:
            return list(array)
        raise PromptError(f"{_described(array)} {_wanted(inputs)}")
    if isinstance(given, Iterator | Sequence) and not isinstance(given, bytes | io.IOBase):
        items = list(given)
        if inputs.frames and items and all(isinstance(item, Image.Image) for item in items):
            return [items]
        return items
    raise PromptError(_nothing(given, inputs))


def prepare(item: Any, inputs: Inputs, out: np.ndarray) -> None:
    """Writes one image or video, as the image tower takes it, to `out`, float32[*inputs.shape].

    Raises:
        BadImage: a file cannot be read.
        PromptError: an array has a shape, type or range that none has.
    """
    if is_float(item):
        out[...] = checked(item, inputs)
        return
    opened = open_video(item, inputs) if inputs.frames else decode(item, inputs)
    prepare_opened(opened, inputs, out)


def prepare_opened(opened: Any, inputs: Inputs, out: np.ndarray) -> None:
    """As `prepare`, of an RGB image or a `Video`; the frame rule leaves nothing to chance."""
    if not inputs.frames:
        test_transform(opened, inputs.image_size, out, inputs.preprocessing)
        return
    rule: Any = inputs.frame_rule
    chosen = sampling.choose(rule, opened.count, inputs.frames, opened.rate).tolist()
    CROPS[inputs.crop](opened.frames(chosen), inputs.image_size, out, inputs.preprocessing)


def decode(item: Any, inputs: Inputs) -> Image.Image:
    """One image that is not normalized yet, in RGB; raises as `prepare`."""
    if isinstance(item, PATHS):
        return open_image(_path(item, BadImage), inputs.upright)
    if isinstance(item, Image.Image):
        try:
            return as_rgb(item)
        except UnknownWhite as error:
            raise PromptError(f"a Pillow image of mode {item.mode}: {error}") from None
    return Image.fromarray(_pixels(item, inputs, 3))


def _path(item: str | os.PathLike, bad: type[BadImage]) -> Path:
    """The path of a file; pathlib would take an empty one for the directory one is in."""
    if not os.fspath(item):
        raise bad("''", "an empty path")
    return Path(item)


def open_video(item: Any, inputs: Inputs) -> Video:
    """One video that is not normalized yet; raises as `prepare`."""
    if isinstance(item, PATHS):
        return open_any(_path(item, BadVideo), inputs.upright)
    if isinstance(item, list | tuple):
        frames = [decode(frame, inputs) for frame in item]
    else:
        frames = [Image.fromarray(frame) for frame in _pixels(item, inputs, 4)]
    if not frames:
        raise PromptError("a video without frames; give at least one")
    return Frames(frames)


@dataclass(frozen=True)
class Frames:
    """A video in memory."""

    images: Sequence[Image.Image]
    rate: float | None = None

    @property
    def count(self) -> int:
        """How many frames there are."""
        return len(self.images)

    def frames(self, indices: Sequence[int]) -> Iterator[Image.Image]:
        """Frames in RGB, one at a time."""
        return (self.images[index] for index in indices)


def is_float(item: Any) -> bool:
    """Whether it is an array of floating-point numbers, which are taken as normalized."""
    kind = getattr(getattr(item, "dtype", None), "kind", "")
    return kind in ("f", "V")  # V: bfloat16


def checked(item: Any, inputs: Inputs) -> np.ndarray:
    """A normalized array, float32[*inputs.shape].

    Raises:
        PromptError: it has another shape, or numbers that no normalized image has.
    """
    array = _as_array(item).astype(np.float32)
    if array.shape != inputs.shape:
        raise PromptError(
            f"{_described(item)} {_wanted(inputs)}{_turned(array.shape, inputs.shape)}"
        )
    if not np.isfinite(array).all():
        raise PromptError(f"{_described(item)} some of its numbers are infinite or no numbers")
    least, most = float(array.min()), float(array.max())
    black, white = inputs.preprocessing.bounds
    unprepared = black < -0.1 and 0 <= least < most <= 1
    if max(-least, most) > max(FARTHEST, -MOST_TIMES * black, MOST_TIMES * white) or unprepared:
        raise PromptError(
            f"{_described(item)} its numbers are from {least:g} to {most:g}: floating-point arrays "
            "are taken as normalized (mean subtracted, divided by the standard deviation; about "
            f"{black:.1f} to {white:.1f}). Give uint8 of 0 to 255, or what `preprocess` makes of it"
        )
    return array


def _pixels(item, inputs, axes):
    """uint8[..., H, W, 3] of an image (3 axes) or video (4)."""
    if not (hasattr(item, "shape") and hasattr(item, "dtype")):
        raise PromptError(_nothing(item, inputs))
    array = _as_array(item)
    fits = array.ndim == axes and array.shape[-1] == CHANNELS and array.size
    if array.dtype != np.uint8 or not fits:
        hint = _turned(array.shape, (*[None] * (axes - 1), CHANNELS))
        if array.ndim == axes and array.shape[-1] == 4:
            hint = "; drop the fourth channel: x[..., :3]"
        raise PromptError(f"{_described(array)} {_wanted(inputs)}{hint}")
    return np.ascontiguousarray(array)


def _as_array(item):
    try:
        return np.asarray(item)
    except (TypeError, RuntimeError, ValueError) as error:  # tensors of PyTorch raise these
        raise PromptError(
            f"{type(item).__name__} of {item.dtype}{list(item.shape)} cannot be read by NumPy "
            f"({error})"
        ) from error


def _nothing(item, inputs):
    return f"a value of type {type(item).__name__} is no {inputs.kind}; {_wanted(inputs)}"


def _turned(shape, wanted):
    """A hint where channels come first, as in PyTorch."""
    if len(shape) == len(wanted) and shape[-3] == CHANNELS and shape[-1] != CHANNELS:
        return "; channels come first in it, so turn it: np.moveaxis(x, -3, -1)"
    return ""


def _described(array):
    return f"an array of {array.dtype}{list(array.shape)}:"


def _wanted(inputs):
    size = inputs.image_size
    if inputs.frames:
        return (
            "a video is a path, a list of Pillow images, uint8[frames, height, width, 3] of any "
            f"size, or normalized float[{inputs.frames}, {size}, {size}, 3]; several are a list, "
            "or have a first axis more"
        )
    return (
        "an image is a path, a Pillow image, uint8[height, width, 3] of any size, or "
        f"normalized float[{size}, {size}, 3]; several are a list, or have a first axis more"
    )

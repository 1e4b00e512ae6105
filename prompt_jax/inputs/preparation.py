"""Checks images and videos passed by the user, and prepares them for the image tower.

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
from prompt_jax.inputs.images.grays import UnknownWhite
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
from prompt_jax.inputs.videos.opening import Video, frames_in_order, open_any

Crop = Literal["clip", "vifi"]
CROPS = {"clip": transforms.test_transform, "vifi": vifi.test_transform}
# Limits of a normalized image; CLIP's black is -1.8 and white 2.1.
FARTHEST, MOST_TIMES = 10.0, 4.0
PATHS = (str, os.PathLike)


@dataclass(frozen=True)
class Inputs:
    """Declares how an image or video is prepared for the image tower.

    Defaults reproduce models saved before a field existed.

    Attributes:
        image_size: S, the side of the tower's input in pixels.
        mean, std: per channel (RGB, in 0..1), for normalization.
        stats: the name of mean and std; "" if they have none.
        frames: F, frames of a video; 0 for images.
        frame_rule: which frames of a video, see `videos.sampling`; "" for images.
        crop: "clip", or "vifi" for videos, which resizes and crops as `videos.vifi`.
        resize, resize_to, interpolation, fill, middle: see `images.preprocessing`.
        upright: whether images and frames are rotated as their files say.
        passes: in how many passes the rule "centre" takes the frames, see `videos.sampling`.

    Raises:
        PromptError: a field has an invalid value, or contradicts another one.
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
    passes: int = 1

    def __post_init__(self):
        """Checks the fields."""
        named = self.preprocessing.stats
        if self.stats != named:
            raise PromptError(
                f"stats={self.stats!r}, but mean={self.mean} and std={self.std} are "
                f"{f'those of {named!r}' if named else 'none that have a name'}"
            )
        if self.crop not in CROPS:
            raise unknown("crop", str(self.crop), CROPS)
        several = self.frame_rule == "centre" and self.passes > 1 and not self.frames % self.passes
        if self.passes != 1 and not (several and self.frames):
            raise PromptError(
                f"passes={self.passes} must divide frames={self.frames}, and be 1 for "
                f"frame_rule={self.frame_rule!r}; several passes need frame_rule='centre'"
            )

    @classmethod
    def of(
        cls,
        image_size: int,
        preprocessing: Preprocessing = CLIP,
        frames: int = 0,
        frame_rule: str = "",
        crop: str = "clip",
        upright: bool = True,
        passes: int = 1,
    ) -> "Inputs":
        """Returns inputs with the fields of a `Preprocessing`."""
        own: dict[str, Any] = {**vars(preprocessing), "stats": preprocessing.stats}
        return cls(
            image_size,
            frames=frames,
            frame_rule=frame_rule,
            crop=crop,
            upright=upright,
            passes=passes,
            **own,
        )

    @functools.cached_property
    def preprocessing(self) -> Preprocessing:
        """The resizing, cropping and normalization of an image."""
        own = {field.name: getattr(self, field.name) for field in fields(Preprocessing)}
        return Preprocessing(**own)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one image or video, without the batch."""
        frames = (self.frames,) if self.frames else ()
        return (*frames, self.image_size, self.image_size, CHANNELS)

    @property
    def kind(self) -> str:
        """The kind of input, "video" or "image"."""
        return "video" if self.frames else "image"


def as_items(given: Any, inputs: Inputs) -> list[Any]:
    """Returns one or several images or videos as a list.

    Raises:
        PromptError: the type is not supported, or an array has a wrong number of axes.
    """
    one = len(inputs.shape)
    if isinstance(given, (*PATHS, Image.Image)):
        return [given]
    if hasattr(given, "shape") and hasattr(given, "dtype"):
        array = _as_array(given)
        if array.dtype.kind in "OTU" and array.ndim == 1:  # paths, of pandas or NumPy
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
    """Prepares one image or video and writes it to `out`, float32[*inputs.shape].

    Raises:
        BadImage: a file cannot be read.
        PromptError: an array has an invalid shape, dtype or range.
    """
    if is_float(item):
        out[...] = checked(item, inputs)
        return
    opened = open_video(item, inputs) if inputs.frames else decode(item, inputs)
    prepare_opened(opened, inputs, out)


def prepare_opened(opened: Any, inputs: Inputs, out: np.ndarray) -> None:
    """Prepares an RGB image or an open `Video` as `prepare`; the frame rule is deterministic."""
    if not inputs.frames:
        test_transform(opened, inputs.image_size, out, inputs.preprocessing)
        return
    rule: Any = inputs.frame_rule
    passes = inputs.passes
    chosen = sampling.choose(rule, opened.count, inputs.frames, opened.rate, passes=passes)
    frames = frames_in_order(opened, chosen.tolist())
    CROPS[inputs.crop](frames, inputs.image_size, out, inputs.preprocessing)


def decode(item: Any, inputs: Inputs) -> Image.Image:
    """Returns one image in RGB, not yet normalized; raises the errors of `prepare`."""
    if isinstance(item, PATHS):
        return open_image(_path(item, BadImage), inputs.upright)
    if isinstance(item, Image.Image):
        try:
            return as_rgb(item)
        except UnknownWhite as error:
            raise PromptError(f"a Pillow image of mode {item.mode}: {error}") from None
    return Image.fromarray(_pixels(item, inputs, 3))


def _path(item: str | os.PathLike, bad: type[BadImage]) -> Path:
    """Converts to a path; rejects an empty one, which pathlib takes for the current directory."""
    if not os.fspath(item):
        raise bad("''", "an empty path")
    return Path(item)


def open_video(item: Any, inputs: Inputs) -> Video:
    """Opens one video, not yet normalized; raises the errors of `prepare`."""
    if isinstance(item, PATHS):
        return open_any(_path(item, BadVideo), inputs.upright)
    if isinstance(item, list | tuple):
        frames = [decode(frame, inputs) for frame in item]
    else:
        frames = [Image.fromarray(frame) for frame in _pixels(item, inputs, 4)]
    if not frames:
        raise PromptError("a video without frames; pass at least one")
    return Frames(frames)


@dataclass(frozen=True)
class Frames:
    """A video in memory."""

    images: Sequence[Image.Image]
    rate: float | None = None

    @property
    def count(self) -> int:
        """The number of frames."""
        return len(self.images)

    def frames(self, indices: Sequence[int]) -> Iterator[Image.Image]:
        """Returns frames in RGB, one at a time."""
        return (self.images[index] for index in indices)


def is_float(item: Any) -> bool:
    """Returns whether it is a floating-point array, which counts as normalized."""
    kind = getattr(getattr(item, "dtype", None), "kind", "")
    return kind in ("f", "V")  # V: bfloat16


def checked(item: Any, inputs: Inputs) -> np.ndarray:
    """Returns a normalized array as float32[*inputs.shape].

    Raises:
        PromptError: it has another shape, or values out of the range of normalized images.
    """
    array = _as_array(item).astype(np.float32)
    if array.shape != inputs.shape:
        raise PromptError(
            f"{_described(item)} {_wanted(inputs)}{_turned(array.shape, inputs.shape)}"
        )
    if not np.isfinite(array).all():
        raise PromptError(f"{_described(item)} some of its values are NaN or infinite")
    least, most = float(array.min()), float(array.max())
    black, white = inputs.preprocessing.bounds
    unprepared = black < -0.1 and 0 <= least < most <= 1
    if max(-least, most) > max(FARTHEST, -MOST_TIMES * black, MOST_TIMES * white) or unprepared:
        raise PromptError(
            f"{_described(item)} its values are from {least:g} to {most:g}: floating-point arrays "
            "must be normalized (mean subtracted, divided by the standard deviation; about "
            f"{black:.1f} to {white:.1f}). Pass uint8 of 0 to 255, or the output of `preprocess`"
        )
    return array


def _pixels(item, inputs, axes):
    """Returns uint8[..., H, W, 3] of an image (3 axes) or video (4)."""
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
    return f"a value of type {type(item).__name__} is not a valid {inputs.kind}; {_wanted(inputs)}"


def _turned(shape, wanted):
    """Returns a hint if channels come first, as in PyTorch."""
    if len(shape) == len(wanted) and shape[-3] == CHANNELS and shape[-1] != CHANNELS:
        return "; its channels come first, so move them: np.moveaxis(x, -3, -1)"
    return ""


def _described(array):
    return f"an array of {array.dtype}{list(array.shape)}:"


def _wanted(inputs):
    size = inputs.image_size
    if inputs.frames:
        return (
            "a video is a path, a list of Pillow images, uint8[frames, height, width, 3] of any "
            f"size, or normalized float[{inputs.frames}, {size}, {size}, 3]; several are a list, "
            "or have an additional first axis"
        )
    return (
        "an image is a path, a Pillow image, uint8[height, width, 3] of any size, or "
        f"normalized float[{size}, {size}, 3]; several are a list, or have an additional first axis"
    )

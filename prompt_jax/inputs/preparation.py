"""Checks images and videos passed by the user, and prepares them for the image tower.

An image is a path, a Pillow image, the content of a file (bytes, an open file, a `URL`),
uint8[H, W, 3] or gray uint8[H, W] of any size, or float[S, S, 3] that is normalized already. A
video is the path of a file or of a directory of frames, the content of a file, a list of images,
uint8[F, H, W, 3], or float[F, S, S, 3] that is normalized already.
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
from prompt_jax.inputs import contents, refusals
from prompt_jax.inputs.contents import URL, Content
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
from prompt_jax.inputs.videos.opening import Video, frames_in_order, open_any, open_content

Crop = Literal["clip", "vifi"]
CROPS = {"clip": transforms.test_transform, "vifi": vifi.test_transform}
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


def as_items(given: Any, inputs: Inputs, keep: bool = False) -> list[Any]:
    """Returns one or several images or videos as a list; open files are read.

    Args:
        given: see the module.
        inputs: whether they are images or videos.
        keep: whether an open file that cannot be read, or an empty content, stays in the list as
            its error, which `prepare` raises.

    Raises:
        BadImage: there is one, unless `keep`.
        PromptError: the type is not supported, or an array has a wrong number of axes.
    """
    one = len(inputs.shape)
    if isinstance(given, (*PATHS, Image.Image)):
        return [given]
    if contents.is_content(given):
        return _read_contents([given], keep)
    if hasattr(given, "shape") and hasattr(given, "dtype"):
        array = as_array(given)
        if array.dtype.kind in "OTU" and array.ndim == 1:  # paths, of pandas or NumPy
            return _read_contents(array.tolist(), keep)
        if array.ndim == one or (array.ndim == 2 and not inputs.frames and array.dtype == np.uint8):
            return [array]
        if array.ndim == one + 1:
            return list(array)
        raise PromptError(refusals.of_array(array, inputs))
    if isinstance(given, Iterator | Sequence):
        items = list(given)
        if inputs.frames and items and all(isinstance(item, Image.Image) for item in items):
            return [items]
        return _read_contents(items, keep)
    raise PromptError(refusals.of_type(given, inputs))


def _read_contents(items: list[Any], keep: bool) -> list[Any]:
    """Returns the items, with the content of bytes and open files; see `as_items`."""
    found = list(items)
    for number, item in enumerate(items):
        if contents.is_content(item):
            try:
                found[number] = contents.as_content(item, number)
            except (OSError, ValueError) as error:  # ValueError: of a closed file, or ours
                if not keep:
                    raise
                found[number] = error
    return found


def name_of(item: Any, number: int) -> str:
    """Returns the path or address of an item; of an image in memory its number, "#0"."""
    if isinstance(item, PATHS):
        return os.fspath(item)
    if isinstance(item, Content):
        return item.name
    return item.address if isinstance(item, URL) else f"#{number}"


def prepare(item: Any, inputs: Inputs, out: np.ndarray) -> None:
    """Prepares one image or video and writes it to `out`, float32[*inputs.shape].

    Raises:
        BadImage: a file cannot be read.
        PromptError: an array has an invalid shape, dtype or range.
    """
    if isinstance(item, Exception):  # of `as_items`
        raise item
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
    if isinstance(item, Content | URL):
        content = contents.load(item)
        try:
            return open_image(io.BytesIO(content.data), inputs.upright)
        except BadImage as bad:
            raise BadImage(content.name, bad.reason) from bad
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
    if contents.is_address(item):
        raise bad(os.fspath(item), contents.describe_address(os.fspath(item)))
    return Path(item)


def open_video(item: Any, inputs: Inputs) -> Video:
    """Opens one video, not yet normalized; raises the errors of `prepare`."""
    if isinstance(item, PATHS):
        return open_any(_path(item, BadVideo), inputs.upright)
    if isinstance(item, Content | URL):
        content = contents.load(item)
        return open_content(content.data, content.name, inputs.upright)
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
    array = as_array(item).astype(np.float32)
    if array.shape != inputs.shape or refusals.looks_unprepared(array, inputs.preprocessing):
        raise PromptError(refusals.of_array(as_array(item), inputs))
    return array


def _pixels(item: Any, inputs: Inputs, axes: int) -> np.ndarray:
    """Returns uint8[..., H, W, 3] of an image (3 axes) or video (4); gray has 1 channel or none."""
    if not (hasattr(item, "shape") and hasattr(item, "dtype")):
        raise PromptError(refusals.of_type(item, inputs))
    array = as_array(item)
    if array.dtype == np.uint8 and array.size:
        if array.ndim == axes - 1 == 2:
            array = array[..., None]
        if array.ndim == axes and array.shape[-1] == 1:
            array = np.repeat(array, CHANNELS, axis=-1)
        if array.ndim == axes and array.shape[-1] == CHANNELS:
            return np.ascontiguousarray(array)
    raise PromptError(refusals.of_array(array, inputs))


def as_array(item: Any) -> np.ndarray:
    """Returns an array of NumPy; raises a PromptError if it cannot be read."""
    try:
        return np.asarray(item)
    except (TypeError, RuntimeError, ValueError) as error:  # tensors of PyTorch raise these
        raise PromptError(
            f"{type(item).__name__} of {item.dtype}{list(item.shape)} cannot be read by NumPy "
            f"({error})"
        ) from error

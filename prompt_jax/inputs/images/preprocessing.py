"""Declares how images are resized, cropped and normalized, as a checkpoint was trained."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

import numpy as np

from prompt_jax.errors import PromptError, unknown

# Mean and standard deviation per channel (RGB, of values in 0..1) that CLIP was trained with.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
CHANNELS = 3

Stats = Literal["", "clip", "imagenet", "half"]
STATS: tuple[str, ...] = get_args(Stats)[1:]
RANGES = {"mean": (0.0, 1.0), "std": (1e-4, 1.0)}
"""Allowed values for images in 0..1; a std of 1 leaves them unscaled."""
# ImageNet's are written for values in 0..255, as in video code.
_STATS = {
    "clip": (np.array(CLIP_MEAN, np.float32), np.array(CLIP_STD, np.float32)),
    "imagenet": (
        np.array((123.675, 116.28, 103.53), np.float32) / np.float32(255),
        np.array((58.395, 57.12, 57.375), np.float32) / np.float32(255),
    ),
    "half": (np.full(CHANNELS, 0.5, np.float32), np.full(CHANNELS, 0.5, np.float32)),
}
Resize = Literal["shortest", "squash", "longest", "none"]
RESIZES: tuple[str, ...] = get_args(Resize)
Interpolation = Literal["bicubic", "bilinear", "lanczos", "hamming", "box", "nearest"]
INTERPOLATIONS: tuple[str, ...] = get_args(Interpolation)
Middle = Literal["rounded", "floored"]
MIDDLES: tuple[str, ...] = get_args(Middle)
MOST_TIMES_RESIZED = 8  # the largest `resize_to` as a multiple of the tower's input, for memory
LARGEST = 65536  # pixels on a side, the limit of images that are read


def statistics(stats: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns mean and standard deviation of each channel by name."""
    mean, std = _STATS[stats]
    return tuple(mean.tolist()), tuple(std.tolist())


@dataclass(frozen=True)
class Preprocessing:
    """Declares the preprocessing of an RGB image; the defaults are CLIP's.

    Numbers are rounded to float32.

    Attributes:
        mean, std: per channel (RGB, in 0..1), for normalization.
        resize: the side that becomes `resize_to` pixels: "shortest" or "longest", with the aspect
            ratio kept; both ("squash"); or "none".
        resize_to: in pixels; 0: the size of the tower's input.
        interpolation: Pillow's filter.
        fill: gray value of the padding, 0 to 255, for images smaller than the tower's input.
        middle: rounding of a half-pixel offset of the center crop: "rounded" to even, as CLIP,
            torchvision and open_clip do, or "floored", as transformers does. An odd pixel of
            padding is at the right and bottom, or at the left and top.

    Raises:
        PromptError: a field has an invalid value.
    """

    mean: tuple[float, ...] = CLIP_MEAN
    std: tuple[float, ...] = CLIP_STD
    resize: Resize = "shortest"
    resize_to: int = 0
    interpolation: Interpolation = "bicubic"
    fill: int = 0
    middle: Middle = "rounded"

    def __post_init__(self):
        """Rounds mean and standard deviation to float32, and checks all fields."""
        for name in ("mean", "std"):
            object.__setattr__(self, name, _three_numbers(name, getattr(self, name)))
        for name, (least, most) in RANGES.items():
            values = getattr(self, name)
            if not all(least <= each <= most for each in values):
                raise PromptError(f"{name}={values}: each must be from {least:g} to {most:g}")
        for name, allowed in _CHOICES.items():
            value = getattr(self, name)
            if value not in allowed:
                raise unknown(name, str(value), allowed)
        for name, most in (("resize_to", LARGEST), ("fill", 255)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
                raise PromptError(f"{name}={value!r} must be a whole number from 0 to {most:,}")

    @property
    def stats(self) -> Stats:
        """The name of mean and standard deviation; "" if they have none."""
        return _name(self.mean, self.std)

    @property
    def bounds(self) -> tuple[float, float]:
        """The normalized black and white, the minimum and maximum over the channels."""
        black = [-mean / std for mean, std in zip(self.mean, self.std, strict=True)]
        white = [(1 - mean) / std for mean, std in zip(self.mean, self.std, strict=True)]
        return min(black), max(white)

    def differences(self, usual: "Preprocessing") -> dict[str, Any]:
        """Returns the fields that differ from those of `usual`, with their values."""
        both = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: value for name, value in both if value != getattr(usual, name)}

    def describe(self, size: int) -> str:
        """Describes the preprocessing for an input of `size` pixels in one line."""
        side = self.resize_to or size
        done = {
            "shortest": f"shortest side to {side}",
            "longest": f"longest side to {side}",
            "squash": f"squashed to {side} × {side}",
            "none": "not resized",
        }[self.resize]
        if self.resize != "none":
            done += f" ({self.interpolation})"
        if self.resize != "squash" or side != size:
            done += f", center crop {size} × {size}"
        numbers = " and ".join(
            f"{name} {', '.join(f'{value:.4g}' for value in values)}"
            for name, values in (("mean", self.mean), ("std", self.std))
        )
        return f"{done}, normalized by {numbers}" + (f" ({self.stats})" if self.stats else "")


def choose(
    stats: str = "",
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    resize: str = "",
    interpolation: str = "",
) -> dict[str, Any]:
    """Returns the fields of a `Preprocessing` that the user sets instead of the checkpoint's.

    Args:
        stats: the name of mean and standard deviation: "clip", "imagenet" or "half".
        mean, std: or numbers for red, green and blue in 0..1.
        resize, interpolation: see `Preprocessing`; "" keeps the checkpoint's.

    Raises:
        PromptError: a value is invalid, or they contradict each other.
    """
    if stats and stats not in STATS:
        raise unknown("stats", str(stats), STATS)
    if stats and (mean or std):
        raise PromptError(
            f"stats={stats} and mean={mean}, std={std}: set a name or numbers, not both"
        )
    if bool(mean) != bool(std):
        raise PromptError(f"mean={mean} and std={std}: set both")
    chosen: dict[str, Any] = {}
    if stats or mean:
        chosen["mean"], chosen["std"] = statistics(stats) if stats else (mean, std)
    if resize:
        chosen |= {"resize": resize, "resize_to": 0}
    if interpolation:
        chosen["interpolation"] = interpolation
    kept = Preprocessing(**chosen)
    return {name: getattr(kept, name) for name in chosen}


def _three_numbers(name: str, values: Any) -> tuple[float, ...]:
    numbers = list(values) if isinstance(values, Sequence) and not isinstance(values, str) else []
    plain = all(isinstance(v, int | float) and not isinstance(v, bool) for v in numbers)
    if len(numbers) != CHANNELS or not plain or not all(map(math.isfinite, numbers)):
        raise PromptError(
            f"{name}={values!r} must be {CHANNELS} numbers, of red, green and blue in 0 to 1"
        )
    with np.errstate(over="ignore"):  # the caller checks the range
        return tuple(float(np.float32(value)) for value in numbers)


@functools.cache
def _name(mean: tuple[float, ...], std: tuple[float, ...]) -> Stats:
    names = (name for name in STATS if statistics(name) == (mean, std))
    return next(names, "")  # type: ignore[arg-type]


_CHOICES = {"resize": RESIZES, "interpolation": INTERPOLATIONS, "middle": MIDDLES}
CLIP = Preprocessing()

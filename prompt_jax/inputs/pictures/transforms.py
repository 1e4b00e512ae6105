"""From a decoded picture to CLIP's input: resizing, cropping, normalising."""

import math
from typing import Literal, get_args

import numpy as np
from PIL import Image

# Mean and standard deviation per channel (RGB, of values in 0..1) that CLIP was trained with.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

CHANNELS = 3

Stats = Literal["clip", "imagenet"]
STATS: tuple[str, ...] = get_args(Stats)
# ImageNet's, as code for video writes them: of values in 0..255.
_STATS = {
    "clip": (np.array(CLIP_MEAN, np.float32), np.array(CLIP_STD, np.float32)),
    "imagenet": (
        np.array((123.675, 116.28, 103.53), np.float32) / np.float32(255),
        np.array((58.395, 57.12, 57.375), np.float32) / np.float32(255),
    ),
}
AREA = (0.08, 1.0)
_RATIO = (3 / 4, 4 / 3)
_TRIES = 10
# Of a picture longer than this many times its short side, only the middle is resized: the crop
# shows one short side of it. Below, the whole is, as everywhere else, bit for bit.
_LONGEST = 256

Box = tuple[int, int, int, int]


def statistics(stats: Stats) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel that a name stands for."""
    mean, std = _STATS[stats]
    return tuple(mean.tolist()), tuple(std.tolist())


def test_transform(
    image: Image.Image, size: int, out: np.ndarray | None = None, stats: Stats = "clip"
) -> np.ndarray:
    """CLIP's preprocessing: short side to `size`, centre crop, normalise.

    Args:
        image: RGB picture of any size.
        size: side of the result in pixels.
        out: float32[size, size, 3] to write into, contiguous; None makes one.
        stats: as of `normalise`.

    Returns:
        float32[size, size, 3], normalised.

    Source: CLIP's released preprocessing (torchvision `Resize` and `CenterCrop` on a picture).
    """
    image = without_far_ends(image)
    width, height = image.size
    short = min(width, height)
    # The long side is cut off, not rounded, and the offset is rounded half to even: torchvision's
    # rules. Another rule moves the crop by a pixel.
    width, height = int(size * width / short), int(size * height / short)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left = int(round((width - size) / 2.0))
    top = int(round((height - size) / 2.0))
    return normalise(image.crop((left, top, left + size, top + size)), out, stats)


def without_far_ends(image: Image.Image) -> Image.Image:
    """The middle of a picture that is longer than `_LONGEST` times its short side; else itself."""
    width, height = image.size
    longest = _LONGEST * min(width, height)
    if max(width, height) <= longest:
        return image
    kept_width, kept_height = min(width, longest), min(height, longest)
    left, top = (width - kept_width) // 2, (height - kept_height) // 2
    return image.crop((left, top, left + kept_width, top + kept_height))


def train_transform(
    image: Image.Image,
    size: int,
    rng: np.random.Generator,
    out: np.ndarray | None = None,
    area: tuple[float, float] = AREA,
    flip: bool = True,
    stats: Stats = "clip",
) -> np.ndarray:
    """Random resized crop, random horizontal flip, normalise.

    Args:
        image: RGB picture of any size.
        size: side of the result in pixels.
        rng: decides crop and flip.
        out: float32[size, size, 3] to write into, contiguous; None makes one.
        area: least and most of the picture that the crop shows.
        flip: False never flips.
        stats: as of `normalise`.

    Returns:
        float32[size, size, 3], normalised.

    Source: the CoOp family's training recipe (crop area 0.08 to 1, flip with probability 1/2).
    """
    crop = image.crop(random_box(*image.size, rng, area))
    # Not `resize(box=…)`: at the border that filter also sees the pixels outside the crop.
    crop = crop.resize((size, size), Image.Resampling.BICUBIC)
    if flip and rng.random() < 0.5:
        crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return normalise(crop, out, stats)


def random_box(
    width: int, height: int, rng: np.random.Generator, area: tuple[float, float] = AREA
) -> Box:
    """A random crop of an aspect ratio of 3/4 to 4/3.

    Args:
        width: of the picture, in pixels.
        height: of the picture, in pixels.
        rng: the source of randomness.
        area: least and most of the picture that the crop shows.

    Returns:
        (left, top, right, bottom) in pixels; after ten boxes that do not fit, the largest
        centred one of an allowed ratio.

    Source: torchvision's `RandomResizedCrop`.
    """
    for _ in range(_TRIES):
        pixels = width * height * rng.uniform(*area)
        ratio = math.exp(rng.uniform(math.log(_RATIO[0]), math.log(_RATIO[1])))
        w, h = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
        if 0 < w <= width and 0 < h <= height:
            left = int(rng.integers(width - w + 1))
            top = int(rng.integers(height - h + 1))
            return left, top, left + w, top + h
    w = max(1, min(width, round(height * _RATIO[1])))
    h = max(1, min(height, round(width / _RATIO[0])))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def normalise(
    image: Image.Image, out: np.ndarray | None = None, stats: Stats = "clip"
) -> np.ndarray:
    """Scale to 0..1, subtract a mean and divide by a standard deviation, by channel.

    Args:
        image: RGB picture.
        out: float32[height, width, 3] to write into, contiguous; None makes one.
        stats: "clip", those that CLIP was trained with, or "imagenet".

    Returns:
        float32[height, width, 3]: `out`, if given.
    """
    if out is None:
        out = np.empty((image.height, image.width, CHANNELS), np.float32)
    mean, std = _STATS[stats]
    # Rows of width * 3 values: arithmetic over an innermost axis of 3 takes three times as long.
    rows = out.reshape(image.height, -1)
    np.divide(np.asarray(image).reshape(rows.shape), np.float32(255), out=rows, dtype=np.float32)
    rows -= np.tile(mean, image.width)
    rows /= np.tile(std, image.width)
    return out

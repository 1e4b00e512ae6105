"""Resizes, crops and normalizes decoded images for CLIP."""

import functools
import math

import numpy as np
from PIL import Image

from prompt_jax.inputs.images.preprocessing import CHANNELS, CLIP, Preprocessing
from prompt_jax.inputs.images.preprocessing import CLIP_MEAN as CLIP_MEAN  # earlier here
from prompt_jax.inputs.images.preprocessing import CLIP_STD as CLIP_STD

AREA = (0.08, 1.0)
_RATIO = (3 / 4, 4 / 3)
_TRIES = 10
# Only the middle of an image longer than this multiple of its short side is resized, to save
# memory: the center crop shows one short side. Others are resized whole, bit for bit as usual.
_LONGEST = 256

Box = tuple[int, int, int, int]


def test_transform(
    image: Image.Image,
    size: int,
    out: np.ndarray | None = None,
    preprocessing: Preprocessing = CLIP,
) -> np.ndarray:
    """Prepares a test image for the image tower: resize, center crop, normalize.

    Args:
        image: RGB image of any size.
        size: side of the result in pixels.
        out: contiguous float32[size, size, 3] to write to; None allocates it.
        preprocessing: by default CLIP's.

    Returns:
        float32[size, size, 3], normalized.

    Source: CLIP's released preprocessing (torchvision `Resize` and `CenterCrop` on an image);
    of other checkpoints open_clip's `image_transform` and transformers' `CLIPImageProcessor`.
    """
    image = resize(image, size, preprocessing)
    return normalize(center_crop(image, size, preprocessing), out, preprocessing)


def resize(image: Image.Image, size: int, preprocessing: Preprocessing) -> Image.Image:
    """Resizes an image for an input of `size` pixels, without cropping it."""
    side = preprocessing.resize_to or size
    kind = preprocessing.resize
    if kind == "none":
        return image
    if kind == "shortest":
        image = crop_long(image)
    width, height = image.size
    if kind == "squash":
        width = height = side
    elif kind == "shortest":
        # The long side is truncated, not rounded, as in torchvision and transformers.
        short = min(width, height)
        width, height = int(side * width / short), int(side * height / short)
    else:
        # Rounded, as in open_clip, to at least one row.
        ratio = max(width, height) / side
        width, height = max(1, round(width / ratio)), max(1, round(height / ratio))
    filter = Image.Resampling[preprocessing.interpolation.upper()]
    return image.resize((width, height), filter)


def center_crop(image: Image.Image, size: int, preprocessing: Preprocessing) -> Image.Image:
    """Returns the center crop of `size` x `size` pixels, padded if the image is smaller."""
    width, height = image.size
    if min(width, height) < size:
        # An odd pixel of padding is right and below; in transformers (Pillow) left and above.
        odd = preprocessing.middle == "floored"
        left, top = (max(0, (size - side + odd) // 2) for side in image.size)
        canvas = Image.new("RGB", (max(width, size), max(height, size)), (preprocessing.fill,) * 3)
        canvas.paste(image, (left, top))
        image, (width, height) = canvas, canvas.size
    # Another rounding moves the crop by a pixel. `round` is half to even.
    cut = math.floor if preprocessing.middle == "floored" else round
    left, top = cut((width - size) / 2), cut((height - size) / 2)
    return image.crop((left, top, left + size, top + size))


def crop_long(image: Image.Image) -> Image.Image:
    """Crops an image to `_LONGEST` times its short side around its middle."""
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
    preprocessing: Preprocessing = CLIP,
) -> np.ndarray:
    """Prepares a training image: random resized crop, random horizontal flip, normalize.

    Args:
        image: RGB image of any size.
        size: side of the result in pixels.
        rng: decides crop and flip.
        out: contiguous float32[size, size, 3] to write to; None allocates it.
        area: the smallest and largest share of the image in the crop.
        flip: False never flips.
        preprocessing: for interpolation, mean and standard deviation.

    Returns:
        float32[size, size, 3], normalized.

    Source: the CoOp family's training recipe (crop area 0.08 to 1, flip with probability 1/2).
    """
    crop = image.crop(random_box(*image.size, rng, area))
    # Not `resize(box=…)`, whose filter also reads pixels outside the crop.
    crop = crop.resize((size, size), Image.Resampling[preprocessing.interpolation.upper()])
    if flip and rng.random() < 0.5:
        crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return normalize(crop, out, preprocessing)


def random_box(
    width: int, height: int, rng: np.random.Generator, area: tuple[float, float] = AREA
) -> Box:
    """Draws a random crop with an aspect ratio of 3/4 to 4/3.

    Args:
        width: of the image, in pixels.
        height: of the image, in pixels.
        rng: the source of randomness.
        area: the smallest and largest share of the image in the crop.

    Returns:
        (left, top, right, bottom) in pixels; after ten boxes that do not fit, the largest centered
        one with an allowed ratio.

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


def normalize(
    image: Image.Image, out: np.ndarray | None = None, preprocessing: Preprocessing = CLIP
) -> np.ndarray:
    """Scales to 0..1, subtracts the mean and divides by the standard deviation, per channel.

    Args:
        image: RGB image.
        out: contiguous float32[height, width, 3] to write to; None allocates it.
        preprocessing: for mean and standard deviation.

    Returns:
        float32[height, width, 3]: `out`, if given.
    """
    if out is None:
        out = np.empty((image.height, image.width, CHANNELS), np.float32)
    mean, std = _arrays(preprocessing)
    # As rows of width * 3 values: arithmetic over an innermost axis of 3 is three times slower.
    rows = out.reshape(image.height, -1)
    np.divide(np.asarray(image).reshape(rows.shape), np.float32(255), out=rows, dtype=np.float32)
    rows -= np.tile(mean, image.width)
    rows /= np.tile(std, image.width)
    return out


@functools.cache
def _arrays(preprocessing: Preprocessing) -> tuple[np.ndarray, np.ndarray]:
    return np.array(preprocessing.mean, np.float32), np.array(preprocessing.std, np.float32)

"""From a decoded image to CLIP's input: resizing, cropping, normalizing."""

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
# Of an image longer than this many times its short side, only the middle is resized: the crop
# shows one short side of it. Below, the whole is, as everywhere else, bit for bit.
_LONGEST = 256

Box = tuple[int, int, int, int]


def test_transform(
    image: Image.Image,
    size: int,
    out: np.ndarray | None = None,
    preprocessing: Preprocessing = CLIP,
) -> np.ndarray:
    """A test image as the image tower takes it: resized, the middle cut out, normalized.

    Args:
        image: RGB image of any size.
        size: side of the result in pixels.
        out: float32[size, size, 3] to write into, contiguous; None makes one.
        preprocessing: how; by default as CLIP does it.

    Returns:
        float32[size, size, 3], normalized.

    Source: CLIP's released preprocessing (torchvision `Resize` and `CenterCrop` on an image);
    of other checkpoints open_clip's `image_transform` and transformers' `CLIPImageProcessor`.
    """
    image = resize(image, size, preprocessing)
    return normalise(cut_middle(image, size, preprocessing), out, preprocessing)


def resize(image: Image.Image, size: int, preprocessing: Preprocessing) -> Image.Image:
    """An image resized for a tower of `size` pixels a side, not yet cut."""
    side = preprocessing.resize_to or size
    kind = preprocessing.resize
    if kind == "none":
        return image
    if kind == "shortest":
        image = without_far_ends(image)
    width, height = image.size
    if kind == "squash":
        width = height = side
    elif kind == "shortest":
        # The long side is cut off, not rounded: torchvision's rule, and transformers'.
        short = min(width, height)
        width, height = int(side * width / short), int(side * height / short)
    else:
        # Rounded, as open_clip does. Of a very long image one row is left.
        ratio = max(width, height) / side
        width, height = max(1, round(width / ratio)), max(1, round(height / ratio))
    filter = Image.Resampling[preprocessing.interpolation.upper()]
    return image.resize((width, height), filter)


def cut_middle(image: Image.Image, size: int, preprocessing: Preprocessing) -> Image.Image:
    """The middle `size` x `size` pixels, with margins where the image is smaller."""
    width, height = image.size
    if min(width, height) < size:
        # The odd pixel of the margins is right and below; left and above in transformers (Pillow).
        odd = preprocessing.middle == "floored"
        left, top = (max(0, (size - side + odd) // 2) for side in image.size)
        canvas = Image.new("RGB", (max(width, size), max(height, size)), (preprocessing.fill,) * 3)
        canvas.paste(image, (left, top))
        image, (width, height) = canvas, canvas.size
    # Another rule moves the crop by a pixel. `round` is half to even.
    cut = math.floor if preprocessing.middle == "floored" else round
    left, top = cut((width - size) / 2), cut((height - size) / 2)
    return image.crop((left, top, left + size, top + size))


def without_far_ends(image: Image.Image) -> Image.Image:
    """The middle of an image that is longer than `_LONGEST` times its short side; else itself."""
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
    """Random resized crop, random horizontal flip, normalize.

    Args:
        image: RGB image of any size.
        size: side of the result in pixels.
        rng: decides crop and flip.
        out: float32[size, size, 3] to write into, contiguous; None makes one.
        area: least and most of the image that the crop shows.
        flip: False never flips.
        preprocessing: its interpolation, mean and standard deviation are used.

    Returns:
        float32[size, size, 3], normalized.

    Source: the CoOp family's training recipe (crop area 0.08 to 1, flip with probability 1/2).
    """
    crop = image.crop(random_box(*image.size, rng, area))
    # Not `resize(box=…)`: at the border that filter also sees the pixels outside the crop.
    crop = crop.resize((size, size), Image.Resampling[preprocessing.interpolation.upper()])
    if flip and rng.random() < 0.5:
        crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return normalise(crop, out, preprocessing)


def random_box(
    width: int, height: int, rng: np.random.Generator, area: tuple[float, float] = AREA
) -> Box:
    """A random crop of an aspect ratio of 3/4 to 4/3.

    Args:
        width: of the image, in pixels.
        height: of the image, in pixels.
        rng: the source of randomness.
        area: least and most of the image that the crop shows.

    Returns:
        (left, top, right, bottom) in pixels; after ten boxes that do not fit, the largest
        centered one of an allowed ratio.

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
    image: Image.Image, out: np.ndarray | None = None, preprocessing: Preprocessing = CLIP
) -> np.ndarray:
    """Scale to 0..1, subtract a mean and divide by a standard deviation, by channel.

    Args:
        image: RGB image.
        out: float32[height, width, 3] to write into, contiguous; None makes one.
        preprocessing: its mean and standard deviation are used.

    Returns:
        float32[height, width, 3]: `out`, if given.
    """
    if out is None:
        out = np.empty((image.height, image.width, CHANNELS), np.float32)
    mean, std = _arrays(preprocessing)
    # Rows of width * 3 values: arithmetic over an innermost axis of 3 takes three times as long.
    rows = out.reshape(image.height, -1)
    np.divide(np.asarray(image).reshape(rows.shape), np.float32(255), out=rows, dtype=np.float32)
    rows -= np.tile(mean, image.width)
    rows /= np.tile(std, image.width)
    return out


@functools.cache
def _arrays(preprocessing: Preprocessing) -> tuple[np.ndarray, np.ndarray]:
    return np.array(preprocessing.mean, np.float32), np.array(preprocessing.std, np.float32)

"""Transforms decoded frames for action recognition, as ViFi-CLIP (Rasheed et al. 2023).

Frames are resized with Pillow, whose bilinear filter antialiases when it shrinks; OpenCV's, in
ViFi-CLIP, does not. Enlarging, e.g. from 240 to 256 pixels, gives the same result.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from prompt_jax.inputs.images.colors import Jitter, gray, jitter
from prompt_jax.inputs.images.preprocessing import CLIP, Preprocessing
from prompt_jax.inputs.images.transforms import Box, crop_long, normalize

# Shares of the short side, and how many steps the two sides of a crop may differ.
SCALES = (1.0, 0.875, 0.75, 0.66)
_MOST_STEPS = 1
_SIDES = [
    (i, j) for i in range(len(SCALES)) for j in range(len(SCALES)) if abs(i - j) <= _MOST_STEPS
]
# Positions of a crop, in halves of the remaining space: four corners and the center.
_PLACES = ((0, 0), (2, 0), (0, 2), (2, 2), (1, 1))
# A side that differs from the input size by less is rounded to it.
_NEAR = 3

JITTER, GRAY = 0.8, 0.2
CHANGES = Jitter(brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1)


def train_transform(
    frames: Iterable[Image.Image],
    size: int,
    rng: np.random.Generator,
    out: np.ndarray,
    flip: bool = True,
    preprocessing: Preprocessing = CLIP,
) -> np.ndarray:
    """Prepares training frames: multi-scale crop, flip, color jitter, grayscale, normalize.

    Crop, flip, grayscale and whether to jitter (probability 0.8) are the same for all frames of a
    video; the strength of the jitter is drawn for each frame.

    For arguments and result see `videos.transforms.train_transform`.

    Source: ViFi-CLIP (Rasheed et al. 2023), whose pipeline is X-CLIP's and mmaction's.
    """
    sides = _SIDES[rng.integers(len(_SIDES))]
    place = _PLACES[rng.integers(len(_PLACES))]
    flipped = flip and rng.random() < 0.5
    jittered, grayed = rng.random() < JITTER, rng.random() < GRAY
    for frame, target in zip(frames, out, strict=True):
        frame = _multi_scale_crop(frame, size, sides, place)
        if flipped:
            frame = frame.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if jittered:
            frame = jitter(frame, CHANGES, rng)
        if grayed:
            frame = gray(frame)
        normalize(frame, target, preprocessing)
    return out


def test_transform(
    frames: Iterable[Image.Image], size: int, out: np.ndarray, preprocessing: Preprocessing = CLIP
) -> np.ndarray:
    """Prepares test frames: short side to 8/7 of `size` (224: 256), center crop, normalize."""
    for frame, target in zip(frames, out, strict=True):
        frame = crop_long(frame)
        width, height = resized = _resized(frame, _short_side(size))
        left, top = (width - size) // 2, (height - size) // 2
        box = (left, top, left + size, top + size)
        normalize(_crop_resized(frame, resized, box), target, preprocessing)
    return out


def three_crops(
    frame: Image.Image, size: int, out: np.ndarray, preprocessing: Preprocessing = CLIP
) -> np.ndarray:
    """Returns three crops of a frame with short side `size`: both ends and the middle.

    Args:
        frame: one frame in RGB, of any size.
        size: side of the results in pixels.
        out: float32[3, size, size, 3] to write to, each crop contiguous.
        preprocessing: see `images.transforms.normalize`.

    Returns:
        `out`, normalized.

    Source: ViFi-CLIP's multi-view test.
    """
    frame = crop_long(frame)
    resized = _resized(frame, size)
    frame = frame.resize(resized, Image.Resampling.BILINEAR)
    across, down = ((length - size) // 2 for length in resized)
    for half, target in zip((0, 2, 1), out, strict=True):
        left, top = half * across, half * down
        normalize(frame.crop((left, top, left + size, top + size)), target, preprocessing)
    return out


def _multi_scale_crop(
    frame: Image.Image, size: int, sides: tuple[int, int], place: tuple[int, int]
) -> Image.Image:
    frame = crop_long(frame)
    short = _short_side(size)
    resized = _resized(frame, short)
    lengths = [int(short * SCALES[side]) for side in sides]
    lengths = [size if abs(length - size) < _NEAR else length for length in lengths]
    # Quarters of the space are rounded down, so the far corner may be slightly inside.
    left, top = (
        half * 2 * ((whole - length) // 4)
        for half, whole, length in zip(place, resized, lengths, strict=True)
    )
    crop = _crop_resized(frame, resized, (left, top, left + lengths[0], top + lengths[1]))
    return crop.resize((size, size), Image.Resampling.BILINEAR)


def _short_side(size: int) -> int:
    return int(256 / 224 * size)


def _resized(frame: Image.Image, short: int) -> tuple[int, int]:
    """Returns width and height of a frame resized to a short side of `short`, rounded as mmcv."""
    factor = short / min(frame.size)
    width, height = (int(length * factor + 0.5) for length in frame.size)
    return width, height


def _crop_resized(frame: Image.Image, resized: Sequence[int], box: Box) -> Image.Image:
    """Returns a crop of the resized frame without resizing the rest."""
    across, down = (before / after for before, after in zip(frame.size, resized, strict=True))
    left, top, right, bottom = box
    source = (left * across, top * down, right * across, bottom * down)
    # Rounding may move the end beyond the frame.
    source = (*source[:2], min(source[2], frame.width), min(source[3], frame.height))
    size = (right - left, bottom - top)
    return frame.resize(size, Image.Resampling.BILINEAR, box=source)

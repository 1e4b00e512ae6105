"""Transforms decoded frames like images, with the same crop and flip for all frames."""

from collections.abc import Iterable

import numpy as np
from PIL import Image

from prompt_jax.inputs.images import transforms
from prompt_jax.inputs.images.preprocessing import CLIP, Preprocessing

# Larger crops than of images, to keep moving objects in sight.
AREA = (0.5, 1.0)


def test_transform(
    frames: Iterable[Image.Image], size: int, out: np.ndarray, preprocessing: Preprocessing = CLIP
) -> np.ndarray:
    """Prepares test frames: short side to `size`, center crop, normalize.

    Args:
        frames: F frames in RGB, of any size.
        size: side of the result in pixels.
        out: contiguous float32[F, size, size, 3] to write to.
        preprocessing: see `images.transforms`.

    Returns:
        `out`, normalized.
    """
    for frame, place in zip(frames, out, strict=True):
        transforms.test_transform(frame, size, place, preprocessing)
    return out


def train_transform(
    frames: Iterable[Image.Image],
    size: int,
    rng: np.random.Generator,
    out: np.ndarray,
    flip: bool = True,
    preprocessing: Preprocessing = CLIP,
) -> np.ndarray:
    """Prepares training frames: one random resized crop and flip for all frames, normalize.

    Args:
        frames: F frames in RGB, of any size; the same crop is used for all, as far as it fits.
        size: side of the result in pixels.
        rng: decides crop and flip.
        out: contiguous float32[F, size, size, 3] to write to.
        flip: False never flips, e.g. where left and right matter.
        preprocessing: see `images.transforms`.

    Returns:
        `out`, normalized.

    Source: X-Pool, the code base that VoP names (crop area 0.5 to 1, flip with probability 1/2).
    """
    drawn = rng.bit_generator.state
    for frame, place in zip(frames, out, strict=True):
        rng.bit_generator.state = drawn
        transforms.train_transform(frame, size, rng, place, AREA, flip, preprocessing)
    return out

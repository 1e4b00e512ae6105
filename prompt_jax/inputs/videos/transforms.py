"""From decoded frames to CLIP's input: as images, with the same crop and flip for all."""

from collections.abc import Iterable

import numpy as np
from PIL import Image

from prompt_jax.inputs.images import transforms
from prompt_jax.inputs.images.preprocessing import CLIP, Preprocessing

# Less is cut off than of images: what moves should stay in sight.
AREA = (0.5, 1.0)


def test_transform(
    frames: Iterable[Image.Image], size: int, out: np.ndarray, preprocessing: Preprocessing = CLIP
) -> np.ndarray:
    """Short side to `size`, center crop, normalize.

    Args:
        frames: F frames in RGB, of any size.
        size: side of the result in pixels.
        out: float32[F, size, size, 3] to write into, contiguous.
        preprocessing: as of `images.transforms`.

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
    """Random resized crop and random horizontal flip, one for all frames, normalize.

    Args:
        frames: F frames in RGB, of any size; of another size than the first, one gets the same
            crop as far as it fits.
        size: side of the result in pixels.
        rng: decides crop and flip.
        out: float32[F, size, size, 3] to write into, contiguous.
        flip: False never flips: what moves left would move right.
        preprocessing: as of `images.transforms`.

    Returns:
        `out`, normalized.

    Source: X-Pool, the code base that VoP names (crop area 0.5 to 1, flip with probability 1/2).
    """
    drawn = rng.bit_generator.state
    for frame, place in zip(frames, out, strict=True):
        rng.bit_generator.state = drawn
        transforms.train_transform(frame, size, rng, place, AREA, flip, preprocessing)
    return out

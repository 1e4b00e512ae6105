"""From decoded frames to CLIP's input as action recognition does it, after ViFi-CLIP.

Frames are resized by Pillow, whose bilinear filter looks at all pixels where it makes a frame
smaller; ViFi-CLIP's, OpenCV's, skips some. Where it makes one larger, as from 240 to 256 pixels,
the two are the same.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image, ImageEnhance

from prompt_jax.inputs.images.preprocessing import CLIP, Preprocessing
from prompt_jax.inputs.images.transforms import Box, normalise, without_far_ends

# Shares of the short side, and how many steps the two sides of a crop may lie apart.
SCALES = (1.0, 0.875, 0.75, 0.66)
_MOST_STEPS = 1
_SIDES = [
    (i, j) for i in range(len(SCALES)) for j in range(len(SCALES)) if abs(i - j) <= _MOST_STEPS
]
# Where a crop lies, in halves of the room that it leaves: four corners and the center.
_PLACES = ((0, 0), (2, 0), (0, 2), (2, 2), (1, 1))
# A side as near as this to the one that is asked for is that one.
_NEAR = 3

JITTER, GREY = 0.8, 0.2
_BRIGHTNESS, _CONTRAST, _SATURATION, _HUE = 0.4, 0.4, 0.2, 0.1


def train_transform(
    frames: Iterable[Image.Image],
    size: int,
    rng: np.random.Generator,
    out: np.ndarray,
    flip: bool = True,
    preprocessing: Preprocessing = CLIP,
) -> np.ndarray:
    """Multi-scale crop, flip, color jitter, gray, normalize.

    Crop, flip and gray are one for all frames of a video, and so is whether there is jitter, with
    probability 0.8; how much is drawn anew for each frame.

    Args:
        frames: F frames in RGB, of any size.
        size: side of the result in pixels.
        rng: decides all of it.
        out: float32[F, size, size, 3] to write into, contiguous.
        flip: False never flips: what moves left would move right.
        preprocessing: as of `images.transforms.normalise`.

    Returns:
        `out`, normalized.

    Source: ViFi-CLIP (Rasheed et al. 2023), whose pipeline is X-CLIP's and mmaction's.
    """
    sides = _SIDES[rng.integers(len(_SIDES))]
    place = _PLACES[rng.integers(len(_PLACES))]
    flipped = flip and rng.random() < 0.5
    jittered, grey = rng.random() < JITTER, rng.random() < GREY
    for frame, target in zip(frames, out, strict=True):
        frame = _multi_scale_crop(frame, size, sides, place)
        if flipped:
            frame = frame.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if jittered:
            frame = jitter(frame, rng)
        if grey:
            frame = frame.convert("L").convert("RGB")
        normalise(frame, target, preprocessing)
    return out


def test_transform(
    frames: Iterable[Image.Image], size: int, out: np.ndarray, preprocessing: Preprocessing = CLIP
) -> np.ndarray:
    """Short side to 8/7 of `size` (224: 256), center crop, normalize; as of `train_transform`."""
    for frame, target in zip(frames, out, strict=True):
        frame = without_far_ends(frame)
        width, height = resized = _resized(frame, _short_side(size))
        left, top = (width - size) // 2, (height - size) // 2
        box = (left, top, left + size, top + size)
        normalise(_crop_resized(frame, resized, box), target, preprocessing)
    return out


def three_crops(
    frame: Image.Image, size: int, out: np.ndarray, preprocessing: Preprocessing = CLIP
) -> np.ndarray:
    """Short side to `size`, and three crops: both ends of the long side, and its middle.

    Args:
        frame: one frame in RGB, of any size.
        size: side of the results in pixels.
        out: float32[3, size, size, 3] to write into, each crop's part contiguous.
        preprocessing: as of `images.transforms.normalise`.

    Returns:
        `out`, normalized.

    Source: ViFi-CLIP's test of several views.
    """
    frame = without_far_ends(frame)
    resized = _resized(frame, size)
    frame = frame.resize(resized, Image.Resampling.BILINEAR)
    across, down = ((length - size) // 2 for length in resized)
    for half, target in zip((0, 2, 1), out, strict=True):
        left, top = half * across, half * down
        normalise(frame.crop((left, top, left + size, top + size)), target, preprocessing)
    return out


def jitter(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Brightness and contrast by 0.6 to 1.4, saturation by 0.8 to 1.2, hue turned by up to a tenth
    of the circle, in random order.

    Source: torchvision's `ColorJitter(0.4, 0.4, 0.2, 0.1)` on images.
    """
    brightness, contrast, saturation = (
        rng.uniform(1 - most, 1 + most) for most in (_BRIGHTNESS, _CONTRAST, _SATURATION)
    )
    hue = rng.uniform(-_HUE, _HUE)
    for change in rng.permutation(4):
        if change == 0:
            image = ImageEnhance.Brightness(image).enhance(brightness)
        elif change == 1:
            image = ImageEnhance.Contrast(image).enhance(contrast)
        elif change == 2:
            image = ImageEnhance.Color(image).enhance(saturation)
        else:
            image = _turn_hue(image, hue)
    return image


def _turn_hue(image: Image.Image, share: float) -> Image.Image:
    hue, saturation, value = image.convert("HSV").split()
    # As bytes: past the end of the circle is its beginning.
    turned = np.asarray(hue) + np.uint8(int(share * 255) % 256)
    return Image.merge("HSV", (Image.fromarray(turned), saturation, value)).convert("RGB")


def _multi_scale_crop(
    frame: Image.Image, size: int, sides: tuple[int, int], place: tuple[int, int]
) -> Image.Image:
    frame = without_far_ends(frame)
    short = _short_side(size)
    resized = _resized(frame, short)
    lengths = [int(short * SCALES[side]) for side in sides]
    lengths = [size if abs(length - size) < _NEAR else length for length in lengths]
    # Quarters of the room are rounded down, so that the far corner may lie a little inside.
    left, top = (
        half * 2 * ((whole - length) // 4)
        for half, whole, length in zip(place, resized, lengths, strict=True)
    )
    crop = _crop_resized(frame, resized, (left, top, left + lengths[0], top + lengths[1]))
    return crop.resize((size, size), Image.Resampling.BILINEAR)


def _short_side(size: int) -> int:
    return int(256 / 224 * size)


def _resized(frame: Image.Image, short: int) -> tuple[int, int]:
    """Width and height of a frame whose short side becomes `short`, rounded as mmcv does."""
    factor = short / min(frame.size)
    width, height = (int(length * factor + 0.5) for length in frame.size)
    return width, height


def _crop_resized(frame: Image.Image, resized: Sequence[int], box: Box) -> Image.Image:
    """A crop of the frame resized to a width and height, without making the rest of it."""
    across, down = (before / after for before, after in zip(frame.size, resized, strict=True))
    left, top, right, bottom = box
    source = (left * across, top * down, right * across, bottom * down)
    # The last pixel's end may come out a rounding beyond the frame.
    source = (*source[:2], min(source[2], frame.width), min(source[3], frame.height))
    size = (right - left, bottom - top)
    return frame.resize(size, Image.Resampling.BILINEAR, box=source)

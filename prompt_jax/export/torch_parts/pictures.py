"""From a picture to CLIP's input."""

import os
import stat
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

_LONGEST = 256  # of a picture that is longer than so many short sides, only the middle counts


def open_picture(picture: Any) -> Image.Image:
    """A picture; of a file, turned as its EXIF orientation says."""
    if isinstance(picture, Image.Image):
        return picture
    if isinstance(picture, str | os.PathLike):
        check_regular(picture)
    # Pillow knows fifty more, of which one starts another program.
    image = Image.open(picture, formats=("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"))
    ImageOps.exif_transpose(image, in_place=True)
    return image


def check_regular(path: str | os.PathLike) -> None:
    """Refuses what is no file, without opening it: reading a pipe or a device may never end."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError(f"{path} is not a regular file")


def preprocess(
    picture: Image.Image, size: int, mean: Sequence[float], std: Sequence[float]
) -> Tensor:
    """CLIP's preprocessing: short side to `size`, centre crop, normalise; float32[3, size, size].

    Args:
        picture: of any size and mode; transparency is ignored, greys of 16 bits keep their upper 8.
        size: of the result, in pixels.
        mean, std: of each channel, RGB in 0..1.
    """
    image = without_far_ends(as_rgb(picture))
    short = min(image.size)
    # The long side is cut off, not rounded, the offset rounded half to even, as torchvision does.
    width, height = (int(size * side / short) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (round((side - size) / 2) for side in (width, height))
    return standardize(image.crop((left, top, left + size, top + size)), mean, std)


def standardize(image: Image.Image, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """An RGB picture as float32[3, H, W], mean subtracted, divided by the standard deviation."""
    pixels = np.asarray(image, np.float32)
    normalised = (pixels / 255 - np.array(mean, np.float32)) / np.array(std, np.float32)
    return torch.from_numpy(normalised).permute(2, 0, 1).contiguous()


def as_rgb(picture: Image.Image) -> Image.Image:
    """In RGB; transparency is ignored, greys of 16 bits keep their upper 8."""
    if picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format == "PNG"):
        picture = Image.fromarray((np.asarray(picture) // 256).astype(np.uint8))
    return picture.convert("RGB")


def without_far_ends(image: Image.Image) -> Image.Image:
    """The middle of a picture that is longer than `_LONGEST` times its short side; else itself."""
    longest = _LONGEST * min(image.size)
    if max(image.size) <= longest:
        return image
    width, height = (min(side, longest) for side in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))

"""Reads and preprocesses images."""

import math
import os
import stat
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

_LONGEST = 256  # aspect ratio from which on only the middle of an image is used
# Fields of TIFF, and their values.
_BITS, _PHOTOMETRIC, _FORMAT, _LEAST, _MOST = 258, 262, 339, 340, 341
_SIGNED, _WHITE_IS_ZERO = 2, 0


def open_image(image: Any, upright: bool = True) -> Image.Image:
    """Opens an image file, or returns a PIL image; `upright` applies a file's EXIF orientation."""
    if isinstance(image, Image.Image):
        return image
    if isinstance(image, str | os.PathLike):
        check_regular(image)
    # Pillow reads fifty more formats, one of which starts another program.
    opened = Image.open(image, formats=("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"))
    if upright:
        ImageOps.exif_transpose(opened, in_place=True)
    return opened


def check_regular(path: str | os.PathLike) -> None:
    """Raises a ValueError if a path is not a regular file: a pipe or device may never end."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError(f"{path} is not a regular file")


def preprocess(image: Image.Image, inputs: Mapping[str, Any]) -> Tensor:
    """Returns an image resized, center-cropped and normalized, float32[3, S, S].

    Args:
        image: of any size and mode; transparency is ignored, grayscale is converted to 8 bits.
        inputs: of config.json: image_size (S), mean, std (of each channel, RGB in 0..1), resize
            ("shortest", "longest" side, "squash" both, "none"), resize_to (pixels; 0: S),
            interpolation (Pillow's filter), fill (gray of margins), middle ("rounded", "floored").
    """
    size = inputs["image_size"]
    image = center_crop(resize(as_rgb(image), inputs), size, inputs["fill"], inputs["middle"])
    return standardize(image, inputs["mean"], inputs["std"])


def resize(image: Image.Image, inputs: Mapping[str, Any]) -> Image.Image:
    """Returns an RGB image resized but not cropped; see `preprocess` for the arguments."""
    kind, side = inputs["resize"], inputs["resize_to"] or inputs["image_size"]
    if kind == "none":
        return image
    if kind == "squash":
        sides = [side, side]
    elif kind == "shortest":
        # The long side is truncated, not rounded, as in torchvision.
        image = crop_long(image)
        sides = [int(side * each / min(image.size)) for each in image.size]
    else:
        sides = [max(1, round(each / (max(image.size) / side))) for each in image.size]
    return image.resize((sides[0], sides[1]), Image.Resampling[inputs["interpolation"].upper()])


def center_crop(image: Image.Image, size: int, fill: int, middle: str) -> Image.Image:
    """Returns the middle `size` x `size` pixels, with gray margins if the image is smaller."""
    if min(image.size) < size:
        width, height = (max(side, size) for side in image.size)
        canvas = Image.new("RGB", (width, height), (fill, fill, fill))
        # An odd margin is larger right and below; in transformers (Pillow) left and above.
        odd = middle == "floored"
        left, top = (max(0, (size - side + odd) // 2) for side in image.size)
        canvas.paste(image, (left, top))
        image = canvas
    # `round` rounds half to even, as in torchvision.
    cut = math.floor if middle == "floored" else round
    left, top = (cut((side - size) / 2) for side in image.size)
    return image.crop((left, top, left + size, top + size))


def standardize(image: Image.Image, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Returns an RGB image as float32[3, H, W], normalized by mean and standard deviation."""
    pixels = np.asarray(image, np.float32)
    normalized = (pixels / 255 - np.array(mean, np.float32)) / np.array(std, np.float32)
    return torch.from_numpy(normalized).permute(2, 0, 1).contiguous()


def as_rgb(image: Image.Image) -> Image.Image:
    """Converts to RGB, without transparency; grayscale of more than 8 bits is scaled to 8.

    Raises:
        ValueError: the file does not say which gray values are black and white.
    """
    signed = _field(image, _FORMAT, 1) == _SIGNED
    if not image.mode.startswith(("I", "F")) and not (image.mode == "L" and signed):
        return image.convert("RGB")
    pixels = np.asarray(image)
    pixels = pixels.view(np.int8) if image.mode == "L" else pixels
    black, white = _field(image, _LEAST, None), _field(image, _MOST, None)
    bits = min(_field(image, _BITS, 16), 16)
    plain = image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG")
    declared = None not in (black, white)
    if declared and black < white and np.isfinite(pixels).all():
        share = (pixels.astype(np.float64) - black) / (white - black)
        gray = (255 * np.clip(share, 0, 1)).round().astype(np.uint8)
    elif (
        not declared
        and plain
        and not signed
        and not (bits == 16 and 0 < pixels.max(initial=0) < 4096)
    ):
        gray = (pixels >> (bits - 8)).astype(np.uint8)
    else:
        raise ValueError(
            f"an image of mode {image.mode}, gray values from {pixels.min():g} to "
            f"{pixels.max():g}: the file does not say which are black and white; convert it to 8 "
            "bits"
        )
    if _field(image, _PHOTOMETRIC, 1) == _WHITE_IS_ZERO:
        gray = 255 - gray
    return Image.fromarray(gray).convert("RGB")


def _field(image: Image.Image, number: int, default: Any) -> Any:
    """Returns a field of a TIFF, the first of several values; of other images `default`."""
    found = getattr(image, "tag_v2", {}).get(number, default)
    return found[0] if isinstance(found, tuple) and found else found


def crop_long(image: Image.Image) -> Image.Image:
    """Crops an image to the middle if it is longer than `_LONGEST` times its short side."""
    longest = _LONGEST * min(image.size)
    if max(image.size) <= longest:
        return image
    width, height = (min(side, longest) for side in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))

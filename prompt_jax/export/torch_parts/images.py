"""From an image to CLIP's input."""

import math
import os
import stat
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

_LONGEST = 256  # of an image that is longer than so many short sides, only the middle counts
# TIFF's fields, and what they hold.
_BITS, _PHOTOMETRIC, _FORMAT, _LEAST, _MOST = 258, 262, 339, 340, 341
_SIGNED, _WHITE_IS_ZERO = 2, 0


def open_image(image: Any, upright: bool = True) -> Image.Image:
    """An image; of a file, turned as its EXIF orientation says if it is to be `upright`."""
    if isinstance(image, Image.Image):
        return image
    if isinstance(image, str | os.PathLike):
        check_regular(image)
    # Pillow knows fifty more, of which one starts another program.
    opened = Image.open(image, formats=("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"))
    if upright:
        ImageOps.exif_transpose(opened, in_place=True)
    return opened


def check_regular(path: str | os.PathLike) -> None:
    """Refuses what is no file, without opening it: reading a pipe or a device may never end."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError(f"{path} is not a regular file")


def preprocess(image: Image.Image, inputs: Mapping[str, Any]) -> Tensor:
    """An image as the image tower takes it, float32[3, S, S]: resized, cut out, normalised.

    Args:
        image: of any size and mode; transparency is ignored, greys are brought to 8 bits.
        inputs: of config.json: image_size (S), mean, std (of each channel, RGB in 0..1), resize
            ("shortest", "longest" side, "squash" both, "none"), resize_to (pixels; 0: S),
            interpolation (Pillow's filter), fill (grey of margins), middle ("rounded", "floored").
    """
    size = inputs["image_size"]
    image = cut_middle(resize(as_rgb(image), inputs), size, inputs["fill"], inputs["middle"])
    return standardize(image, inputs["mean"], inputs["std"])


def resize(image: Image.Image, inputs: Mapping[str, Any]) -> Image.Image:
    """An RGB image resized, not yet cut; for the arguments see `preprocess`."""
    kind, side = inputs["resize"], inputs["resize_to"] or inputs["image_size"]
    if kind == "none":
        return image
    if kind == "squash":
        sides = [side, side]
    elif kind == "shortest":
        # The long side is cut off, not rounded, as torchvision does.
        image = without_far_ends(image)
        sides = [int(side * each / min(image.size)) for each in image.size]
    else:
        sides = [max(1, round(each / (max(image.size) / side))) for each in image.size]
    return image.resize((sides[0], sides[1]), Image.Resampling[inputs["interpolation"].upper()])


def cut_middle(image: Image.Image, size: int, fill: int, middle: str) -> Image.Image:
    """The middle `size` x `size` pixels, with margins of a grey where the image is smaller."""
    if min(image.size) < size:
        width, height = (max(side, size) for side in image.size)
        canvas = Image.new("RGB", (width, height), (fill, fill, fill))
        # The odd pixel of the margins is right and below; left and above in transformers (Pillow).
        odd = middle == "floored"
        left, top = (max(0, (size - side + odd) // 2) for side in image.size)
        canvas.paste(image, (left, top))
        image = canvas
    # `round` is half to even, as in torchvision.
    cut = math.floor if middle == "floored" else round
    left, top = (cut((side - size) / 2) for side in image.size)
    return image.crop((left, top, left + size, top + size))


def standardize(image: Image.Image, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """An RGB image as float32[3, H, W], mean subtracted, divided by the standard deviation."""
    pixels = np.asarray(image, np.float32)
    normalised = (pixels / 255 - np.array(mean, np.float32)) / np.array(std, np.float32)
    return torch.from_numpy(normalised).permute(2, 0, 1).contiguous()


def as_rgb(image: Image.Image) -> Image.Image:
    """In RGB; transparency is ignored, greys of more than 8 bits are brought to 8.

    Raises:
        ValueError: nothing says what is black and white in these greys.
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
        grey = (255 * np.clip(share, 0, 1)).round().astype(np.uint8)
    elif (
        not declared
        and plain
        and not signed
        and not (bits == 16 and 0 < pixels.max(initial=0) < 4096)
    ):
        grey = (pixels >> (bits - 8)).astype(np.uint8)
    else:
        raise ValueError(
            f"an image of mode {image.mode}, greys from {pixels.min():g} to {pixels.max():g}: "
            "nothing says which are black and white; convert it to 8 bits"
        )
    if _field(image, _PHOTOMETRIC, 1) == _WHITE_IS_ZERO:
        grey = 255 - grey
    return Image.fromarray(grey).convert("RGB")


def _field(image: Image.Image, number: int, usual: Any) -> Any:
    """A TIFF's field, the first of several numbers; of other images `usual`."""
    found = getattr(image, "tag_v2", {}).get(number, usual)
    return found[0] if isinstance(found, tuple) and found else found


def without_far_ends(image: Image.Image) -> Image.Image:
    """The middle of an image that is longer than `_LONGEST` times its short side; else itself."""
    longest = _LONGEST * min(image.size)
    if max(image.size) <= longest:
        return image
    width, height = (min(side, longest) for side in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))

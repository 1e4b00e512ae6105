"""Scales grayscale images of more than 8 bits to 8, or rejects them if their white is unknown.

16-bit grayscale ranges from 0 to 65,535 unless the file says otherwise. Signed, 32-bit and
floating-point grayscale has no default range; a TIFF can declare one (SMinSampleValue,
SMaxSampleValue).
"""

from typing import Any

import numpy as np
from PIL import Image

# TIFF tags.
_BITS, _PHOTOMETRIC, _FORMAT, _LEAST, _MOST = 258, 262, 339, 340, 341
_UNSIGNED, _SIGNED = 1, 2
_WHITE_IS_ZERO = 0
# A 16-bit image without higher values has 12 bits or fewer stored in 16, or is almost black.
_TWELVE_BITS = 2**12

_ADVICE = (
    "convert it to 8 bits, or to 16 bits of 0 (black) to 65,535 (white), or write its range into "
    "the TIFF's fields SMinSampleValue and SMaxSampleValue"
)


class UnknownWhite(ValueError):
    """Grayscale whose black and white are not known; the message says what to do."""


def is_deep(image: Image.Image) -> bool:
    """Returns whether an image is grayscale other than unsigned 8 bits."""
    signed = image.mode == "L" and _field(image, _FORMAT, _UNSIGNED) == _SIGNED
    return image.mode.startswith(("I", "F")) or signed


def eight_bits(image: Image.Image) -> Image.Image:
    """Converts deep grayscale to mode L; returns other images unchanged.

    16-bit values keep their upper 8 bits; the fields of a TIFF take precedence.

    Raises:
        UnknownWhite: black and white are not known.
    """
    if not is_deep(image):
        return image
    signed = _field(image, _FORMAT, _UNSIGNED) == _SIGNED
    pixels = np.asarray(image)
    if image.mode == "L":
        pixels = pixels.view(np.int8)
    bits = _field(image, _BITS, 16)
    declared = _field(image, _LEAST, None), _field(image, _MOST, None)
    # Before Pillow 11 PNGs of 16 bits have mode I.
    unsigned = image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG")
    if None not in declared:
        gray = _between(pixels, *map(float, declared))
    elif unsigned and not signed:
        gray = _sixteen(pixels, bits)
    else:
        kind = "floating-point" if image.mode == "F" else "signed" if signed else "32-bit"
        raise UnknownWhite(
            f"its grays are {kind} values, here from {_span(pixels)}, without a declared black and "
            f"white: {_ADVICE}"
        )
    white_is_zero = _field(image, _PHOTOMETRIC, 1) == _WHITE_IS_ZERO
    return Image.fromarray(255 - gray if white_is_zero else gray)


def _sixteen(pixels: np.ndarray, bits: int) -> np.ndarray:
    """Returns the upper 8 of `bits` bits, uint8."""
    most = int(pixels.max(initial=0))
    if bits >= 16 and 0 < most < _TWELVE_BITS:
        raise UnknownWhite(
            f"its grays are 16-bit values, none above {most:,}: the image has fewer bits or is "
            f"almost black, which the file does not say: {_ADVICE}"
        )
    return (pixels >> (min(bits, 16) - 8)).astype(np.uint8)


def _between(pixels: np.ndarray, black: float, white: float) -> np.ndarray:
    if not (np.isfinite(black) and np.isfinite(white) and black < white):
        raise UnknownWhite(
            f"SMinSampleValue={black:g} and SMaxSampleValue={white:g} are not a valid range: "
            f"{_ADVICE}"
        )
    if not np.isfinite(pixels).all():
        raise UnknownWhite(f"some of its grays are NaN or infinite: {_ADVICE}")
    share = (pixels.astype(np.float64) - black) / (white - black)
    return (255 * np.clip(share, 0, 1)).round().astype(np.uint8)


def _span(pixels: np.ndarray) -> str:
    if not np.isfinite(pixels).all():
        return "finite to infinite or NaN"
    return f"{pixels.min(initial=0):g} to {pixels.max(initial=0):g}"


def _field(image: Image.Image, number: int, usual: Any) -> Any:
    """Returns a TIFF field, the first of several numbers; `usual` for other images."""
    found = getattr(image, "tag_v2", {}).get(number, usual)
    if isinstance(found, tuple):
        found = found[0] if found else usual
    return found

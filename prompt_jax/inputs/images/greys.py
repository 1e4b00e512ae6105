"""Grays of more than 8 bits: what is black and white in them, or a refusal where nobody says.

A 16-bit gray goes from 0 to 65,535 unless the file says otherwise. Signed, 32-bit and floating
grays have no black and white of their own; a TIFF can say them (SMinSampleValue, SMaxSampleValue).
"""

from typing import Any

import numpy as np
from PIL import Image

# Numbers of TIFF's fields.
_BITS, _PHOTOMETRIC, _FORMAT, _LEAST, _MOST = 258, 262, 339, 340, 341
_UNSIGNED, _SIGNED = 1, 2
_WHITE_IS_ZERO = 0
# 16-bit grays that go no higher are those of 12 bits or fewer, stored in 16; or all but black.
_TWELVE_BITS = 2**12

_ADVICE = (
    "convert it to 8 bits, or to 16 bits of 0 (black) to 65,535 (white), or write its range into "
    "the TIFF's fields SMinSampleValue and SMaxSampleValue"
)


class UnknownWhite(ValueError):
    """Grays of which nobody says what is black and white; the message says what to do."""


def is_deep(image: Image.Image) -> bool:
    """Whether an image has grays that are not plain 8 bits."""
    signed = image.mode == "L" and _field(image, _FORMAT, _UNSIGNED) == _SIGNED
    return image.mode.startswith(("I", "F")) or signed


def eight_bits(image: Image.Image) -> Image.Image:
    """An image of grays as mode L; one that is no deep gray is given back as it is.

    Grays of 16 bits keep their upper 8. Of a TIFF, its own fields decide.

    Raises:
        UnknownWhite: nobody says what is black and white.
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
        grey = _between(pixels, *map(float, declared))
    elif unsigned and not signed:
        grey = _sixteen(pixels, bits)
    else:
        kind = "floating-point" if image.mode == "F" else "signed" if signed else "32-bit"
        raise UnknownWhite(
            f"its greys are {kind} numbers, here from {_span(pixels)}, and nothing says which of "
            f"them are black and white: {_ADVICE}"
        )
    white_is_zero = _field(image, _PHOTOMETRIC, 1) == _WHITE_IS_ZERO
    return Image.fromarray(255 - grey if white_is_zero else grey)


def _sixteen(pixels: np.ndarray, bits: int) -> np.ndarray:
    """The upper 8 of so many bits, uint8."""
    most = int(pixels.max(initial=0))
    if bits >= 16 and 0 < most < _TWELVE_BITS:
        raise UnknownWhite(
            f"its greys are 16-bit numbers, and none is above {most:,}: either of fewer bits, or "
            f"all but black, and nothing says which: {_ADVICE}"
        )
    return (pixels >> (min(bits, 16) - 8)).astype(np.uint8)


def _between(pixels: np.ndarray, black: float, white: float) -> np.ndarray:
    if not (np.isfinite(black) and np.isfinite(white) and black < white):
        raise UnknownWhite(
            f"SMinSampleValue={black:g} and SMaxSampleValue={white:g} are no black and white: "
            f"{_ADVICE}"
        )
    if not np.isfinite(pixels).all():
        raise UnknownWhite(f"some of its greys are infinite or no numbers: {_ADVICE}")
    share = (pixels.astype(np.float64) - black) / (white - black)
    return (255 * np.clip(share, 0, 1)).round().astype(np.uint8)


def _span(pixels: np.ndarray) -> str:
    if not np.isfinite(pixels).all():
        return "numbers to infinite ones or none"
    return f"{pixels.min(initial=0):g} to {pixels.max(initial=0):g}"


def _field(image: Image.Image, number: int, usual: Any) -> Any:
    """A TIFF's field, the first of several numbers; of other images `usual`."""
    found = getattr(image, "tag_v2", {}).get(number, usual)
    if isinstance(found, tuple):
        found = found[0] if found else usual
    return found

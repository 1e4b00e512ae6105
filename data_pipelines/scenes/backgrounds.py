"""Draws procedural backgrounds: a pattern of a main color and a similar one."""

import math
from collections.abc import Callable
from functools import lru_cache
from types import MappingProxyType

import numpy as np
from PIL import Image

Pattern = Callable[[int, np.random.Generator], np.ndarray]

COLORS = MappingProxyType(
    {
        "red": (200, 50, 50),
        "orange": (235, 145, 50),
        "yellow": (235, 215, 80),
        "green": (70, 160, 80),
        "blue": (60, 105, 205),
        "purple": (140, 80, 180),
        "pink": (240, 160, 195),
        "brown": (130, 90, 60),
        "gray": (140, 140, 145),
        "white": (238, 238, 235),
        "black": (32, 32, 36),
    }
)
"""RGB, 0 to 255, by name."""

_SHADES = np.array(list(COLORS.values()), np.float32)
_WORDS = tuple(COLORS)
_JITTER = 24
# The second color keeps this share of the main one, so that the main color's name stays correct.
_KEPT = 0.45


def draw_background(size: int, rng: np.random.Generator) -> tuple[np.ndarray, str, str]:
    """Draws a background with a few distracting patches.

    Args:
        size: side in pixels.
        rng: the generator of all choices.

    Returns:
        The image, float32[size, size, 3], 0 to 255; the pattern (a key of `PATTERNS`); the main
        color (a key of `COLORS`).
    """
    kind, word = choose_background(rng)
    color = draw_color(rng, _WORDS.index(word))
    second = _KEPT * color + (1 - _KEPT) * draw_color(rng)
    mask = PATTERNS[kind](size, rng)
    background = color + mask[..., None] * (second - color)
    for _ in range(int(rng.random() * 4)):
        _draw_patch(background, rng)
    return background, kind, word


def choose_background(rng: np.random.Generator) -> tuple[str, str]:
    """Returns the pattern and main color that `draw_background` would draw."""
    kind = _KINDS[int(rng.random() * len(_KINDS))]
    return kind, _WORDS[int(rng.random() * len(_WORDS))]


def draw_color(rng: np.random.Generator, index: int | None = None) -> np.ndarray:
    """Returns a jittered shade, float32[3], of the color at `index`, or of a random one."""
    if index is None:
        index = int(rng.random() * len(_WORDS))
    return _SHADES[index] + ((rng.random(3) - 0.5) * 2 * _JITTER).astype(np.float32)


def turn(angle: float) -> tuple[float, float]:
    """Returns cosine and sine of `angle` (radians), rounded to agree on all platforms."""
    return round(math.cos(angle), 6), round(math.sin(angle), 6)


def _draw_patch(background: np.ndarray, rng: np.random.Generator) -> None:
    size = len(background)
    left, top, width, height, opacity = rng.random(5).tolist()
    wide, high = (round(size * (0.08 + 0.2 * side)) for side in (width, height))
    x, y = int(left * (size - wide)), int(top * (size - high))
    patch = background[y : y + high, x : x + wide]
    patch += (0.4 + 0.6 * opacity) * (draw_color(rng) - patch)


@lru_cache(maxsize=8)
def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    steps = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    return steps[None, :], steps[:, None]


def _plain(size: int, rng: np.random.Generator) -> np.ndarray:
    return np.zeros((size, size), np.float32)


def _slope(size: int, rng: np.random.Generator) -> np.ndarray:
    across, down = _grid(size)
    cos, sin = turn(2 * math.pi * rng.random())
    return across * cos + down * sin


def _gradient(size: int, rng: np.random.Generator) -> np.ndarray:
    return np.clip(_slope(size, rng) + 0.5, 0, 1)


def _stripes(size: int, rng: np.random.Generator) -> np.ndarray:
    waves, phase = 2 + 4 * rng.random(), rng.random()
    return _square_wave(_slope(size, rng) * waves + phase)


def _checks(size: int, rng: np.random.Generator) -> np.ndarray:
    across, down = _grid(size)
    waves, phase_x, phase_y = 1.5 + 2 * rng.random(), rng.random(), rng.random()
    return np.abs(_square_wave(across * waves + phase_x) - _square_wave(down * waves + phase_y))


def _dots(size: int, rng: np.random.Generator) -> np.ndarray:
    across, down = _grid(size)
    waves, phase_x, phase_y = 3 + 3 * rng.random(), rng.random(), rng.random()
    x, y = across * waves + phase_x, down * waves + phase_y
    distance2 = (x - np.floor(x) - 0.5) ** 2 + (y - np.floor(y) - 0.5) ** 2
    return (distance2 < 0.08).astype(np.float32)


def _clouds(size: int, rng: np.random.Generator) -> np.ndarray:
    return _soft_noise(size, 4, Image.Resampling.BICUBIC, rng)


def _noise(size: int, rng: np.random.Generator) -> np.ndarray:
    return _soft_noise(size, size // 2, Image.Resampling.BILINEAR, rng)


def _soft_noise(
    size: int, cells: int, resample: Image.Resampling, rng: np.random.Generator
) -> np.ndarray:
    coarse = Image.frombytes("L", (cells, cells), rng.bytes(cells * cells))
    return np.asarray(coarse.resize((size, size), resample), np.float32) / 255


def _square_wave(phase: np.ndarray) -> np.ndarray:
    return (phase - np.floor(phase) < 0.5).astype(np.float32)


PATTERNS: MappingProxyType[str, Pattern] = MappingProxyType(
    {
        "plain": _plain,
        "gradient": _gradient,
        "stripes": _stripes,
        "checks": _checks,
        "dots": _dots,
        "clouds": _clouds,
        "noise": _noise,
    }
)
"""Functions by name that draw the share of the second color, float32[size, size], 0 to 1."""

_KINDS = tuple(PATTERNS)

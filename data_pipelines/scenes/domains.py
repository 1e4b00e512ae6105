"""Domains of the embedded scenes: plain, and four domain shifts.

The shifts lower the accuracy of the embedded CLIP to about half among 30 classes, far above chance,
so that prompts have room to improve. It has seen milder forms of each shift in pretraining.
"""

from collections.abc import Callable
from types import MappingProxyType

import numpy as np
from PIL import Image

Shift = Callable[[np.ndarray, np.ndarray, np.random.Generator, float], np.ndarray]

STRENGTHS: MappingProxyType[str, float] = MappingProxyType(
    {
        "plain": 0.0,
        # Share of the color that paper replaces, 0 to 1; lines darken with it.
        "sketch": 0.77,
        # Share of the object's own color that the dark shape replaces, 0 to 1.
        "silhouette": 0.8,
        # Share of the missing daylight, 0 to 1.
        "night": 0.78,
        # Side of a tile in pixels of a 48-pixel image; 1 changes nothing.
        "mosaic": 6.0,
    }
)
"""The strength of each shift in the data set."""

MILD_STRENGTHS: MappingProxyType[str, float] = MappingProxyType(
    {"plain": 0.0, "sketch": 0.6, "silhouette": 0.6, "night": 0.6, "mosaic": 3.0}
)
"""The milder shifts in the embedded CLIP's pretraining."""

_MOONLIGHT = np.array((-0.06, 0.0, 0.18), np.float32)
_LUMINANCE = (0.299, 0.587, 0.114)
_NIGHT_NOISE = 12.0
# Standard deviation of the difference of two random bytes.
_BYTES_SPREAD = 104.5
# The last is opacity, which is kept.
_DARK = (28.0, 26.0, 38.0, 255.0)


def plain(
    background: np.ndarray, objects: np.ndarray, rng: np.random.Generator, strength: float
) -> np.ndarray:
    """Draws the objects over the background.

    All functions of `SHIFTS` have the same arguments and result:

    Args:
        background: float32[size, size, 3], 0 to 255.
        objects: float32[size, size, 4], 0 to 255, color premultiplied with alpha.
        rng: the generator of noise.
        strength: the strength of the shift, see `STRENGTHS`.

    Returns:
        float32[size, size, 3], about 0 to 255.
    """
    return background * (1 - objects[..., 3:] / 255) + objects[..., :3]


def sketch(
    background: np.ndarray, objects: np.ndarray, rng: np.random.Generator, strength: float
) -> np.ndarray:
    """Draws dark lines along the edges, on paper that keeps a share of the color; see `plain`."""
    image = plain(background, objects, rng, 0.0)
    gray = _gray(image)
    edges = np.zeros_like(gray)
    edges[:, 1:-1] = np.abs(gray[:, 2:] - gray[:, :-2])
    edges[1:-1] += np.abs(gray[2:] - gray[:-2])
    lines = 1 - strength * np.minimum(edges / 110, 1)
    paper = 255 * strength + (1 - strength) * image
    return paper * lines[..., None]


def silhouette(
    background: np.ndarray, objects: np.ndarray, rng: np.random.Generator, strength: float
) -> np.ndarray:
    """Draws a dark shape with some inner shading against the light; see `plain`."""
    dark = strength / 255 * np.array(_DARK, np.float32)
    shape = (1 - strength) * objects + objects[..., 3:] * dark
    # Without the backlight a dark shape on a dark background would be invisible.
    backlit = 255 * strength + (1 - strength) * background
    return plain(backlit, shape, rng, 0.0)


def night(
    background: np.ndarray, objects: np.ndarray, rng: np.random.Generator, strength: float
) -> np.ndarray:
    """Draws dim, bluish light with camera noise; see `plain`."""
    image = plain(background, objects, rng, 0.0) * nightlight(strength)
    # Raw bytes: the same on every platform, and cheap.
    noise = np.frombuffer(rng.bytes(2 * image.size), np.uint8).reshape(2, *image.shape)
    spread = noise[0].astype(np.float32) - noise[1]
    return image + spread * (strength * _NIGHT_NOISE / _BYTES_SPREAD)


def nightlight(strength: float) -> np.ndarray:
    """Returns the remaining share of red, green and blue at night, float32[3]."""
    return 1 - strength + strength * _MOONLIGHT


def mosaic(
    background: np.ndarray, objects: np.ndarray, rng: np.random.Generator, strength: float
) -> np.ndarray:
    """Draws square tiles of one color each; see `plain`."""
    image = np.clip(plain(background, objects, rng, 0.0), 0, 255).astype(np.uint8)
    size = len(image)
    tiles = round(48 / strength)
    coarse = Image.fromarray(image).resize((tiles, tiles), Image.Resampling.BOX)
    fine = coarse.resize((size, size), Image.Resampling.NEAREST)
    return np.asarray(fine, np.float32)


def _gray(image: np.ndarray) -> np.ndarray:
    red, green, blue = _LUMINANCE
    return image[..., 0] * red + image[..., 1] * green + image[..., 2] * blue


SHIFTS: MappingProxyType[str, Shift] = MappingProxyType(
    {
        "plain": plain,
        "sketch": sketch,
        "silhouette": silhouette,
        "night": night,
        "mosaic": mosaic,
    }
)
"""The drawing function of each domain."""

DOMAINS: tuple[str, ...] = tuple(SHIFTS)
"""Names of the domains, "plain" first."""

"""Views of a training image: several augmentations of it for one training step.

All views are made of the image before it is normalized.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image

from prompt_jax.errors import unknown
from prompt_jax.inputs.images.augmix import augmix
from prompt_jax.inputs.images.colors import Jitter, blur, gray, jitter
from prompt_jax.inputs.images.preprocessing import Preprocessing
from prompt_jax.inputs.images.transforms import (
    AREA,
    normalize,
    random_box,
    test_transform,
    train_transform,
)

RECIPE = "recipe"
"""The view that the recipe's own augmentation gives, as if it were the only one."""

View = Callable[[Image.Image, int, np.random.Generator, np.ndarray, bool, Preprocessing], object]
"""(image, size, rng, out float32[size, size, 3], flip, preprocessing) -> `out`, normalized."""

_JITTERED, _GRAYED, _PERSPECTIVE = 0.8, 0.2, 0.5  # probabilities
_SIGMAS = (0.1, 2.0)
_WEAK, _STRONG = Jitter(0.4, 0.4, 0.2, 0.1), Jitter(0.4, 0.4, 0.4, 0.1)
_LARGE = (0.2, 1.0)
# The share of half a side by which perspective may move each corner inwards.
_DISTORTION = 0.2


def _recipe(image, size, rng, out, flip, preprocessing):
    train_transform(image, size, rng, out, flip=flip, preprocessing=preprocessing)


def _center(image, size, rng, out, flip, preprocessing):
    del rng, flip
    test_transform(image, size, out, preprocessing)


def _augmix(image, size, rng, out, flip, preprocessing):
    """Crops, flips and mixes, as TPT (Shu et al., NeurIPS 2022)."""
    augmix(_cropped(image, size, rng, AREA, flip), rng, out, preprocessing)


def _crop_color(image, size, rng, out, flip, preprocessing):
    """Crops, changes colors, blurs and flips, as GOPro (Singha et al., BMVC 2023): MoCo v3's."""
    image = _cropped(image, size, rng, AREA, flip=False)
    if rng.random() < _JITTERED:
        image = jitter(image, _WEAK, rng)
    if rng.random() < _GRAYED:
        image = gray(image)
    image = blur(image, *_SIGMAS, rng)
    normalize(_flipped(image, rng, flip), out, preprocessing)


def _crop_perspective(image, size, rng, out, flip, preprocessing):
    """Crops, flips, changes colors twice and the perspective once, as NoLA (Imam et al. 2024)."""
    image = _cropped(image, size, rng, _LARGE, flip)
    if rng.random() < _JITTERED:
        image = jitter(image, _STRONG, rng)
    if rng.random() < _PERSPECTIVE:
        image = change_perspective(image, _DISTORTION, rng)
    image = jitter(image, _STRONG, rng)
    normalize(blur(image, *_SIGMAS, rng), out, preprocessing)


VIEWS: dict[str, View] = {
    RECIPE: _recipe,
    "center": _center,
    "crop_color": _crop_color,
    "crop_perspective": _crop_perspective,
    "augmix": _augmix,
}
"""The augmentations by the names that `Method.views` lists."""


def check_views(names: tuple[str, ...]) -> None:
    """Raises a PromptError for a view that does not exist."""
    for name in names:
        if name not in VIEWS:
            raise unknown("view", name, VIEWS)


def change_perspective(
    image: Image.Image, distortion: float, rng: np.random.Generator
) -> Image.Image:
    """Changes the perspective: each corner moves inwards at random; the border is black.

    Args:
        image: RGB image.
        distortion: the largest movement of a corner as a share of half a side.
        rng: decides it.

    Source: torchvision's `RandomPerspective`, bicubic.
    """
    width, height = image.size
    across, down = (int(distortion * (side // 2)) + 1 for side in image.size)
    corners = ((0, 0), (width - 1, 0), (width - 1, height - 1), (0, height - 1))
    moved = [
        (abs(x - int(rng.integers(across))), abs(y - int(rng.integers(down)))) for x, y in corners
    ]
    inverse = _perspective(moved, corners)
    transform, bicubic = Image.Transform.PERSPECTIVE, Image.Resampling.BICUBIC
    return image.transform(image.size, transform, inverse, bicubic)


def _perspective(shown, given):
    """Returns the eight coefficients by which the points `shown` show the points `given`."""
    rows, sides = [], []
    for (x, y), (u, v) in zip(shown, given, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        sides += [u, v]
    return np.linalg.solve(np.array(rows, np.float64), np.array(sides, np.float64)).tolist()


def _cropped(
    image: Image.Image,
    size: int,
    rng: np.random.Generator,
    area: tuple[float, float],
    flip: bool,
) -> Image.Image:
    """Returns a random crop in the size of the input, bilinear as in torchvision."""
    crop = image.crop(random_box(*image.size, rng, area))
    return _flipped(crop.resize((size, size), Image.Resampling.BILINEAR), rng, flip)


def _flipped(image, rng, flip):
    mirrored = flip and rng.random() < 0.5
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else image

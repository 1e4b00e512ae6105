"""Random changes of an image's colors and sharpness."""

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

PUBLISHED_SIZE = 224
"""The image size in pixels for which augmentations are published in pixels."""


class Jitter(NamedTuple):
    """The largest changes: of brightness, contrast and saturation by a factor 1 ± x, and of hue."""

    brightness: float
    contrast: float
    saturation: float
    hue: float


def jitter(image: Image.Image, most: Jitter, rng: np.random.Generator) -> Image.Image:
    """Changes brightness, contrast, saturation and hue, in a random order.

    Source: torchvision's `ColorJitter` on images.
    """
    brightness, contrast, saturation = (rng.uniform(1 - x, 1 + x) for x in most[:3])
    hue = rng.uniform(-most.hue, most.hue)
    for change in rng.permutation(4):
        if change == 0:
            image = ImageEnhance.Brightness(image).enhance(brightness)
        elif change == 1:
            image = ImageEnhance.Contrast(image).enhance(contrast)
        elif change == 2:
            image = ImageEnhance.Color(image).enhance(saturation)
        else:
            image = _turn_hue(image, hue)
    return image


def gray(image: Image.Image) -> Image.Image:
    """Returns an RGB image without colors."""
    return image.convert("L").convert("RGB")


def blur(image: Image.Image, least: float, most: float, rng: np.random.Generator) -> Image.Image:
    """Blurs by a Gaussian with a random standard deviation.

    Args:
        image: RGB image, square.
        least, most: of the standard deviation in pixels of an image of `PUBLISHED_SIZE`; smaller
            images are blurred less, in proportion.
        rng: decides it.

    Source: the blur of SimCLR, as written for MoCo v2.
    """
    sigma = rng.uniform(least, most) * image.width / PUBLISHED_SIZE
    return image.filter(ImageFilter.GaussianBlur(sigma))


def _turn_hue(image: Image.Image, share: float) -> Image.Image:
    hue, saturation, value = image.convert("HSV").split()
    # Byte arithmetic wraps around the hue circle.
    turned = np.asarray(hue) + np.uint8(int(share * 255) % 256)
    return Image.merge("HSV", (Image.fromarray(turned), saturation, value)).convert("RGB")

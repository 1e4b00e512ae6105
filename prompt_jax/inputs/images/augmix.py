"""AugMix: mixes an image with chains of weak operations on it (Hendrycks et al., ICLR 2020)."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageOps

from prompt_jax.inputs.images.preprocessing import Preprocessing
from prompt_jax.inputs.images.transforms import normalize

CHAINS, LONGEST_CHAIN = 3, 3
# Of a level from 0.1 to 1, severity 1 of 10.
_DEGREES, _SOLARIZED, _SHEAR, _MOVED = 3.0, 25.6, 0.03, 1 / 30
_GRAYS, _POSTERIZED_BITS = 256, 4

Operation = Callable[[Image.Image, np.random.Generator], Image.Image]


def augmix(
    image: Image.Image, rng: np.random.Generator, out: np.ndarray, preprocessing: Preprocessing
) -> np.ndarray:
    """Mixes an image with three chains of one to three operations on it.

    m · image + (1 - m) · Σ w_i chain_i, with m ~ Beta(1, 1) and w ~ Dirichlet(1, 1, 1).

    Args:
        image: square RGB image of the size of the input.
        rng: decides everything.
        out: contiguous float32[size, size, 3] to write to.
        preprocessing: see `transforms.normalize`.

    Returns:
        `out`, normalized.

    Source: AugMix, severity 1, with the nine operations that ImageNet-C does not use; as in TPT
    (Shu et al., NeurIPS 2022).
    """
    weights = rng.dirichlet([1.0] * CHAINS)
    share = rng.beta(1.0, 1.0)
    mixed = np.float32(share) * normalize(image, preprocessing=preprocessing)
    for weight in weights:
        chain = image
        for _ in range(rng.integers(1, LONGEST_CHAIN + 1)):
            chain = OPERATIONS[rng.integers(len(OPERATIONS))](chain, rng)
        mixed += np.float32((1 - share) * weight) * normalize(chain, preprocessing=preprocessing)
    out[...] = mixed
    return out


def _autocontrast(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    del rng
    return ImageOps.autocontrast(image)


def _equalize(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    del rng
    return ImageOps.equalize(image)


def _posterize(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    del rng  # at severity 1 every level keeps four bits
    return ImageOps.posterize(image, _POSTERIZED_BITS)


def _rotate(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    degrees = _either_way(int(_DEGREES * _level(rng)), rng)
    return image.rotate(degrees, Image.Resampling.BILINEAR)


def _solarize(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return ImageOps.solarize(image, _GRAYS - int(_SOLARIZED * _level(rng)))


def _shear_x(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return _map(image, (1, _either_way(_SHEAR * _level(rng), rng), 0, 0, 1, 0))


def _shear_y(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return _map(image, (1, 0, 0, _either_way(_SHEAR * _level(rng), rng), 1, 0))


def _translate_x(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    pixels = int(_MOVED * image.width * _level(rng))
    return _map(image, (1, 0, _either_way(pixels, rng), 0, 1, 0))


def _translate_y(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    pixels = int(_MOVED * image.height * _level(rng))
    return _map(image, (1, 0, 0, 0, 1, _either_way(pixels, rng)))


OPERATIONS: tuple[Operation, ...] = (
    _autocontrast,
    _equalize,
    _posterize,
    _rotate,
    _solarize,
    _shear_x,
    _shear_y,
    _translate_x,
    _translate_y,
)


def _level(rng: np.random.Generator) -> float:
    return float(rng.uniform(0.1, 1.0))


def _either_way(size: float, rng: np.random.Generator) -> float:
    return -size if rng.random() > 0.5 else size


def _map(image: Image.Image, inverse: tuple[float, ...]) -> Image.Image:
    """Returns an image in which (x, y) shows (a x + b y + c, d x + e y + f) of the given one."""
    transform, bilinear = Image.Transform.AFFINE, Image.Resampling.BILINEAR
    return image.transform(image.size, transform, inverse, bilinear)

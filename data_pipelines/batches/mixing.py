"""Mixup and cutmix of a batch of videos, with soft labels."""

import math

import numpy as np

from data_pipelines.errors import DataError
from prompt_jax.inputs.training_batches import Batch

# ViFi-CLIP's batch size per device, within which it mixes.
GROUP = 4
SMOOTHING, MIXUP_ALPHA, CUTMIX_ALPHA = 0.1, 0.8, 1.0


def mix(batch: Batch, classes: int, rng: np.random.Generator) -> Batch:
    """Mixes the videos of a batch by mixup or cutmix, chosen at random for the whole batch.

    Mixup: λ x + (1 - λ) x' with λ ~ Beta(0.8, 0.8). Cutmix: a box, the same in all frames, is
    replaced by the other video, and λ ~ Beta(1, 1) is the share outside of it. The other video is
    given by a random permutation of the batch.

    Args:
        batch: {"image": float32[B, F, H, W, 3], "label": int32[B], …}; the pixels are changed in
            place.
        classes: K, the number of classes.
        rng: decides all of it.

    Returns:
        The batch with "targets", float32[B, K], whose rows sum to 1: λ of the smoothed label and
        1 - λ of the other video's. "label" is the first video's.

    Raises:
        DataError: a label is out of range.

    Source: ViFi-CLIP's blending (mmaction's), of Zhang et al. 2018 and Yun et al. 2019.
    """
    images, targets = batch["image"], smooth(batch["label"], classes)
    cut = rng.random() < 0.5
    other = rng.permutation(len(images))
    if cut:
        share = rng.beta(CUTMIX_ALPHA, CUTMIX_ALPHA)
        height, width = images.shape[-3:-1]
        rows, columns = random_patch(height, width, 1 - share, rng)
        images[:, :, rows, columns] = images[other][:, :, rows, columns]
        patch = (rows.stop - rows.start) * (columns.stop - columns.start)
        share = 1 - patch / (height * width)
    else:
        share = rng.beta(MIXUP_ALPHA, MIXUP_ALPHA)
        images[:] = np.float32(share) * images + np.float32(1 - share) * images[other]
    mixed = share * targets + (1 - share) * targets[other]
    return {**batch, "targets": mixed.astype(np.float32)}


def smooth(labels: np.ndarray, classes: int, smoothing: float = SMOOTHING) -> np.ndarray:
    """Returns smoothed one-hot labels, float32[B, K]: `smoothing` is spread over all K classes.

    Raises:
        DataError: a label is out of range.
    """
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise DataError(
            f"labels are from {labels.min()} to {labels.max()}; with {classes} classes they must "
            f"be from 0 to {classes - 1}"
        )
    targets = np.full((len(labels), classes), smoothing / classes, np.float32)
    targets[np.arange(len(labels)), labels] += np.float32(1 - smoothing)
    return targets


def random_patch(
    height: int, width: int, area: float, rng: np.random.Generator
) -> tuple[slice, slice]:
    """Draws the rows and columns of a box with a share of the area, clipped to the image."""
    sides = [int(length * math.sqrt(area)) for length in (height, width)]
    centers = [int(rng.integers(length)) for length in (height, width)]
    rows, columns = (
        slice(max(0, center - side // 2), min(whole, center + side // 2))
        for center, side, whole in zip(centers, sides, (height, width), strict=True)
    )
    return rows, columns

"""Mixup and cutmix of a batch of videos, with labels that are shares of the classes."""

import math

import numpy as np

from data_pipelines.errors import DataError
from prompt_jax.inputs.training_batches import Batch

# ViFi-CLIP's batch on one device, within which it mixes.
GROUP = 4
SMOOTHING, MIXUP_ALPHA, CUTMIX_ALPHA = 0.1, 0.8, 1.0


def mix(batch: Batch, classes: int, rng: np.random.Generator) -> Batch:
    """Each video is mixed with another one of the batch, or with itself, in one way for all.

    Half of the batches by mixup, λ x + (1 - λ) x' with λ ~ Beta(0.8, 0.8); half by cutmix: a box,
    the same in all frames, is the other video's, and λ ~ Beta(1, 1) is the share outside of it.

    Args:
        batch: {"image": float32[B, F, H, W, 3], "label": int32[B]} and whatever else; the pixels
            are changed in place.
        classes: K, more than any label.
        rng: decides all of it.

    Returns:
        The batch with "targets", float32[B, K], whose rows sum to 1: λ of the smoothed label and
        1 - λ of the other video's. "label" stays the first video's.

    Raises:
        DataError: a label is not below `classes`.

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
    """float32[B, K]: 1 - `smoothing` for the label, and `smoothing` spread over all K classes.

    Raises:
        DataError: a label is not one of the classes.
    """
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise DataError(
            f"labels from {labels.min()} to {labels.max()}, but {classes} classes to mix; labels "
            f"must be from 0 to {classes - 1}"
        )
    targets = np.full((len(labels), classes), smoothing / classes, np.float32)
    targets[np.arange(len(labels)), labels] += np.float32(1 - smoothing)
    return targets


def random_patch(
    height: int, width: int, area: float, rng: np.random.Generator
) -> tuple[slice, slice]:
    """The rows and columns of a box with a share of the area, its centre anywhere, what lies
    outside cut off."""
    sides = [int(length * math.sqrt(area)) for length in (height, width)]
    centres = [int(rng.integers(length)) for length in (height, width)]
    rows, columns = (
        slice(max(0, centre - side // 2), min(whole, centre + side // 2))
        for centre, side, whole in zip(centres, sides, (height, width), strict=True)
    )
    return rows, columns

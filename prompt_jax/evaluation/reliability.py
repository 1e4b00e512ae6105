"""Confidence intervals over test examples, and calibration."""

import math

import numpy as np

from prompt_jax.evaluation.metrics import Ranks, harmonic_mean

BINS = 15
RESAMPLES = 2000
_Z = 1.959963984540054  # the 97.5 % quantile of the normal distribution
_TAILS = (2.5, 97.5)

Interval = tuple[float, float]
"""The ends of a 95 % interval, in percent."""


def wilson(percent: float, number: float) -> Interval:
    """Returns the 95 % interval of an accuracy (Wilson, 1927).

    Args:
        percent: the accuracy; of several seeds on the same images their mean.
        number: of images, at least 1.
    """
    share, z2 = percent / 100, _Z**2
    middle = (share + z2 / (2 * number)) / (1 + z2 / number)
    half = _Z / (1 + z2 / number)
    half *= math.sqrt(share * (1 - share) / number + z2 / (4 * number**2))
    # At 0 and 100 % an end equals the accuracy, which rounding must not exclude.
    return min(percent, 100 * (middle - half)), max(percent, 100 * (middle + half))


def harmonic(base: float, base_number: int, new: float, new_number: int) -> Interval:
    """Returns the 95 % interval of H by sampling both accuracies, deterministically.

    Accuracies are drawn from the posterior under Jeffreys' prior; a bootstrap would have no spread
    at 0 and 100 %.

    Args:
        base, new: accuracies, percent.
        base_number, new_number: of images.
    """
    rng = np.random.default_rng(0)
    halves = [
        100 * rng.beta(share * number + 0.5, (1 - share) * number + 0.5, RESAMPLES)
        for share, number in ((base / 100, base_number), (new / 100, new_number))
    ]
    drawn = [harmonic_mean(*pair) for pair in zip(*map(np.ndarray.tolist, halves), strict=True)]
    (low, high), h = _ends(np.array(drawn)), harmonic_mean(base, new)
    return min(low, h), max(high, h)


def recall(ranks: Ranks, video_of_query: np.ndarray, k: int) -> Interval:
    """Returns the 95 % interval of R@k (Wilson); captions of one video are not independent.

    It uses the effective number of queries (Korn and Graubard, 1998): with one caption per video,
    all of them; with copies of one caption, the number of videos.

    Args:
        ranks: of N queries.
        video_of_query: int[N], the video of each, from 0; each video has a query.
        k: the rank up to which a query counts.
    """
    ties = ranks.last - ranks.first + 1
    hits = np.clip(k - ranks.first + 1, 0, ties) / ties
    of_video, queries = np.bincount(video_of_query, hits), np.bincount(video_of_query)
    number = int(queries.sum())
    share = float(of_video.sum()) / number
    # The variance of the share.
    spread = float(np.sum((of_video - share * queries) ** 2)) / number**2
    alone = share * (1 - share) / number
    independent = len(queries) if not alone else min(number, number * alone / max(spread, 1e-12))
    return wilson(100 * share, independent)


def _ends(drawn: np.ndarray) -> Interval:
    low, high = np.percentile(drawn, _TAILS).tolist()
    return low, high


def calibration_error(sure: np.ndarray, right: np.ndarray) -> float:
    """Returns the expected calibration error, percent, 15 equal bins (Guo et al., ICML 2017).

    Args:
        sure: float[n], the probability of the most probable class of each image.
        right: bool[n], whether it is the label.
    """
    # (0, 1/15] is the first.
    place = np.clip(np.ceil(np.asarray(sure, np.float64) * BINS).astype(int) - 1, 0, BINS - 1)
    gaps = np.bincount(place, right, BINS) - np.bincount(place, sure, BINS)
    return float(100 * np.abs(gaps).sum() / len(right))

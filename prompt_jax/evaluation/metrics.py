"""Metrics: harmonic mean, recall and rank of retrieval."""

from typing import NamedTuple

import numpy as np

from prompt_jax.errors import PromptError

# Rows that are ranked at once, to bound memory.
ROWS = 1024
# Tolerance of similarities with videos of the same frames in another order.
ROUNDING = 1e-6


def harmonic_mean(base: float, new: float) -> float:
    """Returns H = 2bn / (b + n); 0 if both are 0."""
    return 2 * base * new / (base + new) if base + new else 0.0


class Ranks(NamedTuple):
    """The best and the worst rank, from 1, of each query's match under ties, int64[N]."""

    first: np.ndarray
    last: np.ndarray

    @property
    def middle(self) -> np.ndarray:
        """The mean rank of each query's match over all orders of ties, float64[N]."""
        return (self.first + self.last) / 2


class Retrieval(NamedTuple):
    """The metrics of one direction.

    Attributes:
        r1, r5, r10: percent of queries whose match is among the first 1, 5, 10.
        mean_rank, median_rank: of the matches, from 1 (MnR and MdR).
    """

    r1: float
    r5: float
    r10: float
    mean_rank: float
    median_rank: float


def rank(scores: np.ndarray, own: np.ndarray) -> Ranks:
    """Ranks each query's match among all candidates, the highest score first.

    Args:
        scores: float[N, M], queries by candidates.
        own: int[N], the matching candidate.

    Raises:
        PromptError: a score is NaN.
    """
    first, last = np.zeros(len(scores), np.int64), np.zeros(len(scores), np.int64)
    for start in range(0, len(scores), ROWS):
        rows = slice(start, start + ROWS)
        some, right = scores[rows], own[rows]
        if bad := np.flatnonzero(np.isnan(some).any(axis=1)).tolist():
            raise PromptError(
                f"the similarities of query {start + bad[0]} are NaN: the features of a caption or "
                "video are NaN or infinite; did training diverge?"
            )
        mine = np.take_along_axis(some, right[:, None], axis=1)
        first[rows] = 1 + (some > mine).sum(axis=1)
        last[rows] = (some >= mine).sum(axis=1)
    return Ranks(first, last)


def summarize(ranks: Ranks) -> Retrieval:
    """Returns R@1, R@5, R@10, MnR and MdR, in expectation over a random order of ties.

    Tied ranks a … b count for R@K with the share of them within K; their rank is (a + b)/2. The
    median of two middle ranks is their average (CLIP4Clip takes the lower one).
    """
    first, last = ranks
    ties = last - first + 1
    recalls = [100 * np.mean(np.clip(k - first + 1, 0, ties) / ties) for k in (1, 5, 10)]
    return Retrieval(*map(float, (*recalls, np.mean(ranks.middle), np.median(ranks.middle))))


def told_apart(similarities: np.ndarray, own: np.ndarray, other: np.ndarray) -> float:
    """Returns the percentage of queries that are more similar to their match than to another.

    A difference within rounding counts half.

    Args:
        similarities: float[N, M], queries by candidates.
        own, other: int[N], the matching candidate and the one to compare it with.
    """
    rows = np.arange(len(similarities))
    margins = similarities[rows, own] - similarities[rows, other]
    return 100 * float(np.mean(np.where(abs(margins) < ROUNDING, 0.5, margins > 0)))


def retrieve_videos(similarities: np.ndarray, video_of_text: np.ndarray) -> Ranks:
    """Ranks all videos for every caption (text-to-video).

    Args:
        similarities: float[N, M], N captions by M videos.
        video_of_text: int[N], the video of each caption.
    """
    return rank(similarities, np.asarray(video_of_text))


def retrieve_texts(similarities: np.ndarray, video_of_text: np.ndarray) -> Ranks:
    """Ranks all videos for every video (video-to-text), by the best of each video's captions.

    Source: CLIP4Clip's evaluation of several captions per video.

    Args:
        similarities: float[N, M], N captions by M videos.
        video_of_text: int[N], the video of each caption.

    Raises:
        PromptError: a video has no caption, or a similarity is NaN.
    """
    owner, number = np.asarray(video_of_text), similarities.shape[1]
    without = np.setdiff1d(np.arange(number), owner)
    if without.size:
        raise PromptError(
            f"{without.size} of {number} videos have no caption, e.g. video {without[0]}, counted "
            "from 0: they cannot be found by one; leave them out of the test"
        )
    order = np.argsort(owner, kind="stable")
    starts = np.searchsorted(owner[order], np.arange(number))
    best = np.maximum.reduceat(similarities[order], starts, axis=0)  # candidates by videos
    return rank(best.T, np.arange(number))

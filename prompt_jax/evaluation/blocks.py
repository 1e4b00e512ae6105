"""Blocks of images whose predictions depend on each other; see `Method.block`."""

from collections.abc import Iterator

import numpy as np

STEP = 100
"""The size of a block is a multiple of this, so that few sizes are compiled."""


def split(number: int, most: int, views: int = 1) -> Iterator[np.ndarray]:
    """Yields the rows of each block, int[size], with copies of its first image at its end.

    The copies fill the block up; they change neither the smallest nor the largest value in it.

    Args:
        number: rows, N; `views` consecutive ones show the same image or video.
        most: rows of a block, at most.
        views: see `number`.
    """
    step = STEP * views
    size = max(most // step, 1) * step
    for start in range(0, number, size):
        rows = np.arange(start, min(start + size, number))
        missing = -len(rows) % step
        yield np.concatenate([rows, start + np.arange(missing) % views])

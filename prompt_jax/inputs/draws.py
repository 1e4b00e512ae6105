"""Random draws of training: the examples of each step, and a generator for each example.

`fit` and the loaders of experiments take all their randomness from here, so that the same seed,
data and recipe give the same prompts.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from prompt_jax.errors import DataError

# Training, views and the mixing of a batch take their randomness from separate streams of one seed.
TRAINING, VIEWS, MIXING = 0, 1, 2
PADDING_LABEL = -1  # of rows that fill up the last batch of a pass


def steps_per_epoch(num_examples: int, batch_size: int) -> int:
    """Returns the batches in an epoch of training: full ones only, or one if none is full.

    Raises:
        DataError: there are no examples, or `batch_size` is below 1.
    """
    if batch_size < 1:
        raise DataError(f"batch_size={batch_size}: must be 1 or more")
    if num_examples < 1:
        raise DataError("no examples to make batches of; check the split, shots and filters")
    return max(1, num_examples // batch_size)


def check_training(count: int, batch_size: int, seed: int, num_epochs: int | None) -> int:
    """Returns the steps of an epoch on `count` examples.

    Raises:
        DataError: a setting is out of range.
    """
    steps = steps_per_epoch(count, batch_size)
    if not 0 <= seed < 2**32:
        raise DataError(f"seed={seed}: must be from 0 to {2**32 - 1}")
    if num_epochs is not None and num_epochs < 1:
        raise DataError(f"num_epochs={num_epochs}: must be 1 or more, or None for no end")
    return steps


def share(size: int, shard_index: int, shard_count: int) -> slice:
    """Returns which examples of a batch this host reads: an equal part, in host order.

    Args:
        size: examples in the batch, of all hosts together.
        shard_index: which host this is, from 0.
        shard_count: how many hosts there are.

    Returns:
        From where to where in the batch.

    Raises:
        DataError: there is no such host, or `size` is not divisible by the hosts.
    """
    if shard_count < 1:
        raise DataError(f"shard_count={shard_count}: must be 1 or more hosts")
    if not 0 <= shard_index < shard_count:
        raise DataError(f"shard_index={shard_index}: must be from 0 to {shard_count - 1}")
    if size % shard_count:
        below = size - size % shard_count
        sizes = [str(allowed) for allowed in (below, below + shard_count) if allowed]
        raise DataError(
            f"a batch of {size} examples is not divisible by shard_count={shard_count} hosts; "
            f"use a batch_size of {' or '.join(sizes)} (and at least as many examples)"
        )
    local = size // shard_count
    return slice(shard_index * local, (shard_index + 1) * local)


def shuffled_rows(
    count: int, batch_size: int, seed: int, part: slice
) -> Callable[[int], tuple[int, int, np.ndarray]]:
    """Returns a function from a batch number to the examples of that training batch.

    Args:
        count: examples in all.
        batch_size: examples per batch; an incomplete last batch is left out, unless it is the
            only one.
        seed: of the order, which is another one in every epoch.
        part: of each batch, that this host reads.

    Returns:
        A function from a batch's number to its epoch, the place in the epoch at which this
        host's part begins, and the examples there, int64[part].
    """
    size = min(batch_size, count)

    def rows_of(number: int) -> tuple[int, int, np.ndarray]:
        epoch, step = divmod(number, count // size)
        first = step * size + part.start
        return epoch, first, _order(count, seed, epoch)[first : step * size + part.stop]

    return rows_of


# Threads read across the border of two epochs at once; more than that is not needed.
@lru_cache(maxsize=4)
def _order(count: int, seed: int, epoch: int) -> np.ndarray:
    """Returns all rows in an epoch's order; neighboring seeds have unrelated orders."""
    return np.random.default_rng((seed, epoch)).permutation(count)


def generator(seed: int, stream: int, index: int) -> np.random.Generator:
    """Returns the generator of one example, without drawing for the examples before it.

    Args:
        seed: of the training.
        stream: `TRAINING`, `VIEWS` or `MIXING`.
        index: of the example: its place in the training (epoch · n + place in the epoch), or of a
            view v · n + row.
    """
    return np.random.Generator(np.random.Philox(key=_key(seed), counter=[0, 0, stream, index]))


@lru_cache(maxsize=4)
def _key(seed: int) -> np.ndarray:
    state = np.random.Philox(seed).state["state"]
    return state["key"]

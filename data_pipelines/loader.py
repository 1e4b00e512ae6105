"""Batches for training and testing, read in parallel threads by grain."""

import os
from collections.abc import Sequence
from functools import lru_cache

import grain
import numpy as np

from data_pipelines.errors import DataError
from data_pipelines.examples import Dataset, Example
from data_pipelines.pictures import CachedReader
from data_pipelines.transforms import test_transform, train_transform

Batch = dict[str, np.ndarray]

PADDING_LABEL = -1


def steps_per_epoch(num_examples: int, batch_size: int) -> int:
    """Batches in an epoch of training: full ones only, but one smaller if none is full.

    Raises:
        DataError: there are no examples, or `batch_size` is below 1.
    """
    if batch_size < 1:
        raise DataError(f"batch_size={batch_size}: must be 1 or more")
    if num_examples < 1:
        raise DataError("no examples to make batches of; check the split, shots and filters")
    return max(1, num_examples // batch_size)


def train_batches(
    dataset: Dataset,
    examples: Sequence[Example],
    batch_size: int,
    image_size: int,
    seed: int,
    num_epochs: int | None = None,
    num_threads: int | None = None,
    cache_bytes: int = 256 * 2**20,
) -> grain.DatasetIterator[Batch]:
    """Training batches: shuffled anew and augmented anew in every epoch.

    A batch depends only on the examples, `batch_size`, `image_size`, `seed` and its position.
    `get_state()` is that position as a small dict; `set_state()` continues there, bit for bit.
    The incomplete last batch of an epoch is dropped, unless it is the only one.

    Args:
        dataset: reads the pictures.
        examples: the training examples.
        batch_size: examples per batch.
        image_size: side of a picture in the batch, in pixels.
        seed: of order and augmentation, 0 to 2**32 - 1.
        num_epochs: when to stop; None never stops.
        num_threads: reading threads; 0 reads in the calling thread; None: one per core, at most 4.
        cache_bytes: bound on the decoded pictures kept in memory for later epochs; 0 keeps none.

    Returns:
        Iterator of {"image": float32[B, image_size, image_size, 3], "label": int32[B]}.
        Call `close()` to stop its threads early.

    Raises:
        DataError: a setting is out of range; and from `next`, `BadPicture`.
    """
    steps_per_epoch(len(examples), batch_size)
    if not 0 <= seed < 2**32:
        raise DataError(f"seed={seed}: must be from 0 to {2**32 - 1}")
    if num_epochs is not None and num_epochs < 1:
        raise DataError(f"num_epochs={num_epochs}: must be 1 or more, or None for no end")
    read = CachedReader(dataset.read, cache_bytes)

    def augment(index: int, rng: np.random.Generator) -> Batch:
        example = examples[index]
        return _element(train_transform(read(example), image_size, rng), example.label)

    batches = (
        _ShuffledIndices(len(examples), seed)
        .random_map(augment, seed=seed)
        .batch(batch_size, drop_remainder=len(examples) >= batch_size)
        .repeat(num_epochs)
    )
    return iter(batches.to_iter_dataset(_read_options(num_threads)))


def test_batches(
    dataset: Dataset,
    examples: Sequence[Example],
    batch_size: int,
    image_size: int,
    num_threads: int | None = None,
) -> grain.DatasetIterator[Batch]:
    """Test batches in the examples' order, all of one size, so evaluation compiles once.

    Args:
        dataset: reads the pictures.
        examples: what to go through, once.
        batch_size: examples per batch; the last batch is filled up with black (all-zero) pictures
            of label -1.
        image_size: side of a picture in the batch, in pixels.
        num_threads: reading threads; 0 reads in the calling thread; None: one per core, at most 4.

    Returns:
        Iterator of {"image": float32[B, image_size, image_size, 3], "label": int32[B]}.

    Raises:
        DataError: a setting is out of range; and from `next`, `BadPicture`.
    """
    steps_per_epoch(len(examples), batch_size)

    def read(index: int) -> Batch:
        example = examples[index]
        return _element(test_transform(dataset.read(example), image_size), example.label)

    def pad(elements: Sequence[Batch]) -> Batch:
        blank = _element(np.zeros_like(elements[0]["image"]), PADDING_LABEL)
        full = [*elements, *[blank] * (batch_size - len(elements))]
        return {key: np.stack([element[key] for element in full]) for key in blank}

    batches = grain.MapDataset.range(len(examples)).map(read).batch(batch_size, batch_fn=pad)
    return iter(batches.to_iter_dataset(_read_options(num_threads)))


class _ShuffledIndices(grain.MapDataset[int]):
    """The numbers 0 to `length` - 1, in another order in every epoch.

    Used in place of grain's `shuffle` for two reasons: that takes milliseconds per element on few
    examples (65,536 / length rounds), and adds the epoch to the seed, which gives seed 1's second
    epoch the order of seed 2's first.
    """

    def __init__(self, length: int, seed: int):
        super().__init__()
        self._length = length
        self._seed = seed
        # Threads read across the border of two epochs at once; more than that is not needed.
        self._order = lru_cache(maxsize=4)(self._shuffle)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> int:
        epoch, position = divmod(index, self._length)
        return int(self._order(epoch)[position])

    def _shuffle(self, epoch: int) -> np.ndarray:
        return np.random.default_rng((self._seed, epoch)).permutation(self._length)


def _element(image: np.ndarray, label: int) -> Batch:
    return {"image": image, "label": np.asarray(label, np.int32)}


def _read_options(num_threads: int | None) -> grain.ReadOptions:
    if num_threads is None:
        num_threads = min(4, os.cpu_count() or 1)
    if num_threads < 0:
        raise DataError(f"num_threads={num_threads}: must be 0 or more")
    # Whole batches wait in the buffer, so two per thread are enough to keep the threads busy.
    return grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=2 * num_threads)

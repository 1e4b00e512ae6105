"""Batches for training and testing, read in parallel threads or processes by grain."""

import math
import sys
from collections.abc import Callable, Sequence

import numpy as np

from data_pipelines.batches.reading import Batches
from data_pipelines.errors import DataError
from data_pipelines.examples import Dataset, Example
from data_pipelines.images.readers import CachedReader
from prompt_jax.inputs.draws import (
    PADDING_LABEL,
    TRAINING,
    VIEWS,
    check_training,
    generator,
    share,
    shuffled_rows,
    steps_per_epoch,
)
from prompt_jax.inputs.images.preprocessing import CHANNELS, CLIP, Preprocessing
from prompt_jax.inputs.images.transforms import test_transform, train_transform
from prompt_jax.inputs.training_batches import Batch


def train_batches(
    dataset: Dataset,
    examples: Sequence[Example],
    batch_size: int,
    image_size: int,
    seed: int,
    num_epochs: int | None = None,
    num_threads: int | None = None,
    cache_bytes: int = 256 * 2**20,
    num_workers: int = 0,
    shard_index: int = 0,
    shard_count: int = 1,
    preprocessing: Preprocessing = CLIP,
) -> Batches:
    """Training batches: shuffled anew and augmented anew in every epoch.

    A batch depends only on the examples, `batch_size`, `image_size`, `seed` and its position;
    threads, workers and the cache change nothing, and hosts only divide it among themselves.
    The incomplete last batch of an epoch is dropped, unless it is the only one.

    Args:
        dataset: reads the images.
        examples: the training examples.
        batch_size: examples per batch, of all hosts together.
        image_size: side of an image in the batch, in pixels.
        seed: of order and augmentation, 0 to 2**32 - 1.
        num_epochs: when to stop; None never stops.
        num_threads: reading threads (of each worker, if there are workers); 0 reads in the
            calling thread; None: one per core, at most 4, or one per worker.
        cache_bytes: bound on the decoded images kept in memory for later epochs, divided among
            the workers; 0 keeps none.
        num_workers: reading processes; 0 reads in threads of this process. A worker takes
            seconds to start, and pays where an image takes long to decode or render.
        shard_index: which host this is, from 0.
        shard_count: how many hosts read; each gets its slice of every batch, in host order.
        preprocessing: how images are resized and normalised.

    Returns:
        Iterator of {"image": float32[B, image_size, image_size, 3], "label": int32[B]}, where B is
        `batch_size` (or all examples, if fewer) divided by `shard_count`.

    Raises:
        DataError: a setting is out of range; and from `next`, `BadImage`.
    """
    steps = check_training(len(examples), batch_size, seed, num_epochs)
    part = share(min(batch_size, len(examples)), shard_index, shard_count)
    read = CachedReader(dataset.read, cache_bytes // max(1, num_workers))
    rows_of = shuffled_rows(len(examples), batch_size, seed, part)

    def make(number: int) -> Batch:
        epoch, first, rows = rows_of(number)
        batch = empty(len(rows), (image_size, image_size))
        for i, row in enumerate(rows):
            rng = generator(seed, TRAINING, epoch * len(examples) + first + i)
            out = batch["image"][i]
            train_transform(read(examples[row]), image_size, rng, out, preprocessing=preprocessing)
            batch["label"][i] = examples[row].label
        return batch

    return Batches(make, total(steps, num_epochs), num_threads, num_workers)


def test_batches(
    dataset: Dataset,
    examples: Sequence[Example],
    batch_size: int,
    image_size: int,
    num_threads: int | None = None,
    num_workers: int = 0,
    shard_index: int = 0,
    shard_count: int = 1,
    preprocessing: Preprocessing = CLIP,
) -> Batches:
    """Test batches in the examples' order, all of one size, so evaluation compiles once.

    Args:
        dataset: reads the images.
        examples: what to go through, once.
        batch_size: examples per batch, of all hosts together; the last batch is filled up with
            black (all-zero) images of label -1, so all hosts take the same number of steps.
        image_size: side of an image in the batch, in pixels.
        num_threads: as for `train_batches`.
        num_workers: as for `train_batches`.
        shard_index: as for `train_batches`.
        shard_count: as for `train_batches`.
        preprocessing: as for `train_batches`.

    Returns:
        Iterator of {"image": float32[B, image_size, image_size, 3], "label": int32[B]}, where B is
        `batch_size` / `shard_count`.

    Raises:
        DataError: a setting is out of range; and from `next`, `BadImage`.
    """

    def transform(row: int, view: int, out: np.ndarray) -> None:
        test_transform(dataset.read(examples[row]), image_size, out, preprocessing)

    steps_per_epoch(len(examples), batch_size)
    part = share(batch_size, shard_index, shard_count)
    make, steps = in_order(examples, batch_size, (image_size, image_size), part, transform)
    return Batches(make, steps, num_threads, num_workers)


def train_views(
    dataset: Dataset,
    examples: Sequence[Example],
    batch_size: int,
    image_size: int,
    seed: int,
    views: int,
    num_threads: int | None = None,
    num_workers: int = 0,
    preprocessing: Preprocessing = CLIP,
) -> Batches:
    """Images to compute cached features from: all examples in order, once per view.

    View v of an example is augmented as in training, at random, and depends only on `seed`, v
    and the example's place in the list. Every view begins with a new batch and is padded like a
    test set; what is left without padding is [views, n] in C order.

    Args:
        dataset: reads the images.
        examples: the n training examples.
        batch_size: examples per batch.
        image_size: side of an image in the batch, in pixels.
        seed: of the augmentation, 0 to 2**32 - 1.
        views: how many augmented images of each example; 0 gives one, by the test transform.
        num_threads: as for `train_batches`.
        num_workers: as for `train_batches`.
        preprocessing: as for `train_batches`.

    Returns:
        Iterator of max(1, views) * ceil(n / batch_size) batches {"image": float32[batch_size,
        image_size, image_size, 3], "label": int32[batch_size]}; label -1 is padding.

    Raises:
        DataError: a setting is out of range; and from `next`, `BadImage`.
    """
    if views < 0:
        raise DataError(f"views={views}: must be 0 (the test transform) or more")
    if not views:
        return test_batches(
            dataset,
            examples,
            batch_size,
            image_size,
            num_threads,
            num_workers,
            preprocessing=preprocessing,
        )
    check_training(len(examples), batch_size, seed, 1)

    def transform(row: int, view: int, out: np.ndarray) -> None:
        rng = generator(seed, VIEWS, view * len(examples) + row)
        image = dataset.read(examples[row])
        train_transform(image, image_size, rng, out, preprocessing=preprocessing)

    part = slice(0, batch_size)
    make, steps = in_order(examples, batch_size, (image_size, image_size), part, transform)
    return Batches(make, views * steps, num_threads, num_workers)


def total(steps: int, num_epochs: int | None) -> int:
    """Batches in all, of so many in an epoch."""
    return sys.maxsize if num_epochs is None else steps * num_epochs


def in_order(
    examples: Sequence[Example],
    batch_size: int,
    shape: tuple[int, ...],
    part: slice,
    transform: Callable[[int, int, np.ndarray], None],
) -> tuple[Callable[[int], Batch], int]:
    """Batches of repeated passes over the examples, the last one of a pass padded.

    Args:
        examples: what to go through, in order.
        batch_size: examples per batch, of all hosts together.
        shape: of one example's pixels, without the channels.
        part: of each batch, that this host reads.
        transform: (row, pass, out) writes the pixels of an example to `out`, float32[*shape, 3].

    Returns:
        A function from a batch's number to the batch, and how many batches a pass has.
    """
    steps = math.ceil(len(examples) / batch_size)

    def make(number: int) -> Batch:
        view, step = divmod(number, steps)
        batch = empty(part.stop - part.start, shape)
        first = step * batch_size + part.start
        for i, row in enumerate(range(first, step * batch_size + part.stop)):
            if row < len(examples):
                transform(row, view, batch["image"][i])
                batch["label"][i] = examples[row].label
            else:
                batch["image"][i] = 0
        return batch

    return make, steps


def empty(size: int, shape: tuple[int, ...]) -> Batch:
    """A batch to fill: pixels float32[size, *shape, 3] of anything, labels of padding."""
    image = np.empty((size, *shape, CHANNELS), np.float32)
    return {"image": image, "label": np.full(size, PADDING_LABEL, np.int32)}

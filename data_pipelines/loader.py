"""Batches of images and videos for training and testing, read ahead in threads or processes."""

import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from data_pipelines.batches.mixing import GROUP, mix
from data_pipelines.batches.options import ReadOptions
from data_pipelines.batches.reading import Batches
from data_pipelines.errors import DataError, unknown
from data_pipelines.examples import Dataset, Example
from data_pipelines.images.readers import CachedReader
from data_pipelines.videos.readers import CachedVideos
from prompt_jax.inputs.augmenting import KINDS, Augmentation, augment
from prompt_jax.inputs.draws import (
    MIXING,
    PADDING_LABEL,
    TRAINING,
    VIEWS,
    check_training,
    generator,
    shuffled_rows,
    steps_per_epoch,
)
from prompt_jax.inputs.preparation import Inputs, prepare_opened
from prompt_jax.inputs.training_batches import Batch
from prompt_jax.inputs.videos.sampling import RULES, TEST_RULES

# Marks padding in "row", and an example without captions in "caption".
NONE = -1
USUAL, READ = Augmentation(), ReadOptions()


def training_pairs(examples: Sequence[Example]) -> list[tuple[int, int]]:
    """Returns the training pairs of an epoch: one for each caption of each example.

    Returns:
        (row, caption): the indices of the example and of its caption; an example without captions
        has one pair with caption -1.
    """
    return [
        (row, caption)
        for row, example in enumerate(examples)
        for caption in (range(len(example.captions)) or [NONE])
    ]


def train_batches(
    dataset: Dataset,
    examples: Sequence[Example],
    inputs: Inputs,
    batch_size: int,
    seed: int,
    *,
    augmentation: Augmentation = USUAL,
    mixed_classes: int = 0,
    num_epochs: int | None = None,
    options: ReadOptions = READ,
) -> Batches:
    """Returns training batches, shuffled and augmented anew in every epoch.

    A video with several captions occurs once per caption in an epoch. A batch depends only on the
    examples, the arguments before `options` and its position. The incomplete last batch of an
    epoch is dropped, unless it is the only one.

    Args:
        dataset: reads the images or videos.
        examples: the training examples.
        inputs: image size, frames of a video and preprocessing.
        batch_size: examples, or pairs, per batch, of all hosts together.
        seed: of order and augmentation, 0 to 2**32 - 1.
        augmentation: the random augmentation of each example; with views, V of them.
        mixed_classes: K, to mix the videos of a batch in groups of four, see `mixing.mix`; 0: no
            mixing.
        num_epochs: when to stop; None never stops.
        options: how batches are read.

    Returns:
        Iterator of {"image": float32[B, *inputs.shape], "label": int32[B]}, where B is
        `batch_size` (or all examples, if fewer) divided by the hosts; with views "image" is
        float32[B, V, *inputs.shape]. For videos also "row" and
        "caption", int32[B], see `training_pairs`. For mixed videos these are of the first of two,
        and "targets", float32[B, K], are the soft labels; each host mixes its own videos.

    Raises:
        DataError: a setting is out of range; and from `next`, `BadImage`.
    """
    pairs = [(row, NONE) for row in range(len(examples))]
    if inputs.frames:
        pairs = training_pairs(examples)
    steps = check_training(len(pairs), batch_size, seed, num_epochs)
    check_augmentation(dataset, inputs, augmentation)
    if mixed_classes < 0:
        raise DataError(f"mixed_classes={mixed_classes}: must be 0 (no mixing) or more")
    if mixed_classes and augmentation.views:
        raise DataError(f"mixed_classes={mixed_classes}: views of an example cannot be mixed")
    part = options.share(min(batch_size, len(pairs)))
    cached = CachedVideos if inputs.frames else CachedReader
    read: Callable[[Example], Any] = cached(dataset.read, options.worker_cache_bytes)
    pairs_of = shuffled_rows(len(pairs), batch_size, seed, part)

    def make(number: int) -> Batch:
        epoch, first, places = pairs_of(number)
        first += epoch * len(pairs)
        rows = [pairs[place][0] for place in places]
        batch = empty(len(rows), inputs, augmentation.axes)
        for i, row in enumerate(rows):
            rng = generator(seed, TRAINING, first + i)
            augment(read(examples[row]), inputs, augmentation, rng, batch["image"][i])
            batch["label"][i] = examples[row].label
        if inputs.frames:
            batch["row"] = np.array(rows, np.int32)
            batch["caption"] = np.array([pairs[place][1] for place in places], np.int32)
        return _mix(batch, mixed_classes, seed, first) if mixed_classes else batch

    return _batches(make, total(steps, num_epochs), options)


def test_batches(
    dataset: Dataset,
    examples: Sequence[Example],
    inputs: Inputs,
    batch_size: int,
    *,
    options: ReadOptions = READ,
) -> Batches:
    """Returns test batches in the examples' order, all of one size, so evaluation compiles once.

    Args:
        dataset: reads the images or videos.
        examples: the test examples.
        inputs: how they are prepared; the frame rule must be deterministic.
        batch_size: examples per batch, of all hosts together; the last batch is padded with zeros
            and label and row -1, so that all hosts take the same number of steps.
        options: how batches are read.

    Returns:
        Iterator of batches as `train_batches`, where B is `batch_size` divided by the hosts, and
        "caption" is -1.

    Raises:
        DataError: a setting is out of range; and from `next`, `BadImage`.
    """
    check_frames(dataset, inputs.frames, inputs.frame_rule, TEST_RULES)

    def transform(row: int, view: int, out: np.ndarray) -> None:
        prepare_opened(dataset.read(examples[row]), inputs, out)

    steps_per_epoch(len(examples), batch_size)
    part = options.share(batch_size)
    make, steps = in_order(examples, batch_size, inputs, part, transform)
    if not inputs.frames:
        return _batches(make, steps, options)

    def make_with_rows(number: int) -> Batch:
        return make(number) | rows_in_order(number, batch_size, part, len(examples))

    return _batches(make_with_rows, steps, options)


def train_views(
    dataset: Dataset,
    examples: Sequence[Example],
    inputs: Inputs,
    batch_size: int,
    seed: int,
    views: int,
    *,
    augmentation: Augmentation = USUAL,
    options: ReadOptions = READ,
) -> Batches:
    """Returns batches for computing cached features: all examples in order, once per view.

    View v of an example is augmented as in training and depends only on `seed`, v and the example's
    index. Every view begins with a new batch and is padded like a test set; without padding the
    order is [views, n] in C order.

    Args:
        dataset: reads the images or videos.
        examples: the n training examples.
        inputs: see `train_batches`.
        batch_size: examples per batch, of all hosts together.
        seed: of the augmentation, 0 to 2**32 - 1.
        views: augmented views per example, 1 or more; for images 0 gives one view with the test
            transform.
        augmentation: the random augmentation of each view; its own `views` are drawn together.
        options: how batches are read.

    Returns:
        Iterator of max(1, views) * ceil(n / batch_size) batches {"image":
        float32[B, *augmentation.axes, *inputs.shape], "label": int32[B]}, where B is `batch_size`
        divided by the hosts; label -1 is padding.

    Raises:
        DataError: a setting is out of range; and from `next`, `BadImage`.
    """
    if views < (1 if inputs.frames else 0):
        least = "1 or more" if inputs.frames else "0 (the test transform) or more"
        raise DataError(f"views={views}: must be {least}")
    if not views:
        return test_batches(dataset, examples, inputs, batch_size, options=options)
    check_training(len(examples), batch_size, seed, 1)
    check_augmentation(dataset, inputs, augmentation)

    def transform(row: int, view: int, out: np.ndarray) -> None:
        rng = generator(seed, VIEWS, view * len(examples) + row)
        augment(dataset.read(examples[row]), inputs, augmentation, rng, out)

    part, axes = options.share(batch_size), augmentation.axes
    make, steps = in_order(examples, batch_size, inputs, part, transform, axes)
    return _batches(make, views * steps, options)


def total(steps: int, num_epochs: int | None) -> int:
    """Returns the total number of batches for `steps` per epoch."""
    return sys.maxsize if num_epochs is None else steps * num_epochs


def in_order(
    examples: Sequence[Example],
    batch_size: int,
    inputs: Inputs,
    part: slice,
    transform: Callable[[int, int, np.ndarray], None],
    views: tuple[int, ...] = (),
) -> tuple[Callable[[int], Batch], int]:
    """Makes batches of repeated passes over the examples, padding the last one of each pass.

    Args:
        examples: the examples, in order.
        batch_size: examples per batch, of all hosts together.
        inputs: gives the shape of one example.
        part: the part of each batch that this host reads.
        transform: (row, pass, out) writes an example to `out`, float32[*views, *inputs.shape].
        views: the shape of the views of each example.

    Returns:
        A function from a batch's number to the batch, and the number of batches of a pass.
    """
    steps = math.ceil(len(examples) / batch_size)

    def make(number: int) -> Batch:
        view, step = divmod(number, steps)
        batch = empty(part.stop - part.start, inputs, views)
        first = step * batch_size + part.start
        for i, row in enumerate(range(first, step * batch_size + part.stop)):
            if row < len(examples):
                transform(row, view, batch["image"][i])
                batch["label"][i] = examples[row].label
            else:
                batch["image"][i] = 0
        return batch

    return make, steps


def empty(size: int, inputs: Inputs, views: tuple[int, ...] = ()) -> Batch:
    """Returns an uninitialized batch with padding labels."""
    image = np.empty((size, *views, *inputs.shape), np.float32)
    return {"image": image, "label": np.full(size, PADDING_LABEL, np.int32)}


def rows_in_order(number: int, batch_size: int, part: slice, count: int) -> Batch:
    """Returns "row" and "caption" of a batch in order; see `training_pairs`."""
    rows = np.arange(part.start, part.stop, dtype=np.int32) + number * batch_size
    row = np.where(rows < count, rows, NONE).astype(np.int32)
    return {"row": row, "caption": np.full_like(rows, NONE)}


def _batches(make: Callable[[int], Batch], total: int, options: ReadOptions) -> Batches:
    return Batches(make, total, options.num_threads, options.num_workers)


def _mix(batch: Batch, classes: int, seed: int, first: int) -> Batch:
    """Mixes videos in groups of `GROUP`; `first` is the first one's position in training."""
    targets = []
    for begin in range(0, len(batch["label"]), GROUP):
        few = {key: batch[key][begin : begin + GROUP] for key in ("image", "label")}
        targets.append(mix(few, classes, generator(seed, MIXING, first + begin))["targets"])
    return {**batch, "targets": np.concatenate(targets)}


def check_augmentation(dataset: Dataset, inputs: Inputs, augmentation: Augmentation) -> None:
    """Raises `DataError` for an unknown augmentation or an invalid number of frames."""
    check_frames(dataset, inputs.frames, augmentation.rule, RULES)
    if augmentation.kind not in KINDS:
        raise unknown("augmentation of videos", augmentation.kind, KINDS)


def check_frames(dataset: Dataset, frames: int, rule: str, rules: Sequence[str]) -> None:
    """Raises `DataError` for an invalid number of frames or an unknown rule for frames."""
    if dataset.kind == "videos" and frames < 1:
        raise DataError(f"frames={frames}: must be 1 or more")
    if frames and rule not in rules:
        raise unknown("rule for frames", rule, rules)

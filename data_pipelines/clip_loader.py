"""Batches of clips for training and testing; as `loader` makes them of pictures."""

from collections.abc import Sequence

import numpy as np

from data_pipelines.clips.readers import CachedClips, Clip
from data_pipelines.clips.sampling import RULES, TEST_RULES, Rule, choose
from data_pipelines.clips.transforms import test_transform, train_transform
from data_pipelines.errors import DataError, unknown
from data_pipelines.examples import Dataset, Example
from data_pipelines.loader import check_training, empty, in_order, steps_per_epoch, total
from data_pipelines.order import TRAINING, generator, share, shuffled_rows
from data_pipelines.reading import Batch, Batches

# In "row": padding; in "caption": none was drawn.
NONE = -1


def training_pairs(examples: Sequence[Example]) -> list[tuple[int, int]]:
    """What an epoch of training goes through: a pair for each caption of each example.

    Returns:
        (row, caption): the example's place in the list, and its caption's in `captions`; -1 for
        an example without captions, which makes one pair.
    """
    return [
        (row, caption)
        for row, example in enumerate(examples)
        for caption in (range(len(example.captions)) or [NONE])
    ]


def train_batches(
    dataset: Dataset,
    examples: Sequence[Example],
    batch_size: int,
    frames: int,
    image_size: int,
    seed: int,
    num_epochs: int | None = None,
    rule: Rule = "centre",
    flip: bool = True,
    num_threads: int | None = None,
    cache_bytes: int = 256 * 2**20,
    num_workers: int = 0,
    shard_index: int = 0,
    shard_count: int = 1,
) -> Batches:
    """Training batches: the pairs of clips and captions shuffled, and augmented, in every epoch.

    A clip with several captions comes once per caption in an epoch. Crop and flip are the same
    for all frames of a clip. What a batch depends on is as for `loader.train_batches`.

    Args:
        dataset: reads the clips.
        examples: the training examples.
        batch_size: pairs per batch, of all hosts together.
        frames: how many frames of a clip are looked at; a shorter one repeats its last frame.
        image_size: side of a frame in the batch, in pixels.
        seed: of order, frames and augmentation, 0 to 2**32 - 1.
        num_epochs: when to stop; None never stops.
        rule: which frames, see `clips.sampling.choose`.
        flip: whether half of the clips are mirrored; not where left and right matter.
        num_threads: as for `loader.train_batches`.
        cache_bytes: bound on the decoded frames kept in memory for later epochs, divided among
            the workers; 0 keeps none.
        num_workers: as for `loader.train_batches`.
        shard_index: as for `loader.train_batches`.
        shard_count: as for `loader.train_batches`.

    Returns:
        Iterator of {"image": float32[B, frames, image_size, image_size, 3], "label": int32[B],
        "row": int32[B], "caption": int32[B]}, the last two as of `training_pairs`. B is
        `batch_size` (or all pairs, if fewer) divided by `shard_count`.

    Raises:
        DataError: a setting is out of range; and from `next`, `BadPicture`.
    """
    pairs = training_pairs(examples)
    steps = check_training(len(pairs), batch_size, seed, num_epochs)
    _check_frames(frames, rule, RULES)
    part = share(min(batch_size, len(pairs)), shard_index, shard_count)
    read = CachedClips(dataset.read, cache_bytes // max(1, num_workers))
    pairs_of = shuffled_rows(len(pairs), batch_size, seed, part)

    def make(number: int) -> Batch:
        epoch, first, places = pairs_of(number)
        batch = empty(len(places), (frames, image_size, image_size))
        batch["row"] = np.array([pairs[place][0] for place in places], np.int32)
        batch["caption"] = np.array([pairs[place][1] for place in places], np.int32)
        for i, row in enumerate(batch["row"]):
            rng = generator(seed, TRAINING, epoch * len(pairs) + first + i)
            clip: Clip = read(examples[row])
            chosen = choose(rule, clip.count, frames, clip.rate, rng).tolist()
            train_transform(clip.frames(chosen), image_size, rng, batch["image"][i], flip)
            batch["label"][i] = examples[row].label
        return batch

    return Batches(make, total(steps, num_epochs), num_threads, num_workers)


def test_batches(
    dataset: Dataset,
    examples: Sequence[Example],
    batch_size: int,
    frames: int,
    image_size: int,
    rule: Rule = "centre",
    num_threads: int | None = None,
    num_workers: int = 0,
    shard_index: int = 0,
    shard_count: int = 1,
) -> Batches:
    """Test batches in the examples' order, each clip once, all of one size.

    Args:
        dataset: reads the clips.
        examples: what to go through, once.
        batch_size: examples per batch, of all hosts together; the last batch is filled up with
            black (all-zero) clips of label and row -1, so all hosts take as many steps.
        frames: as for `train_batches`.
        image_size: side of a frame in the batch, in pixels.
        rule: as for `train_batches`, but not "random".
        num_threads: as for `loader.train_batches`.
        num_workers: as for `loader.train_batches`.
        shard_index: as for `loader.train_batches`.
        shard_count: as for `loader.train_batches`.

    Returns:
        Iterator of batches as of `train_batches`, where B is `batch_size` / `shard_count`; no
        caption is drawn, so "caption" is -1.

    Raises:
        DataError: a setting is out of range; and from `next`, `BadPicture`.
    """
    _check_frames(frames, rule, TEST_RULES)

    def transform(row: int, view: int, out: np.ndarray) -> None:
        clip: Clip = dataset.read(examples[row])
        chosen = choose(rule, clip.count, frames, clip.rate).tolist()
        test_transform(clip.frames(chosen), image_size, out)

    steps_per_epoch(len(examples), batch_size)
    part = share(batch_size, shard_index, shard_count)
    shape = (frames, image_size, image_size)
    make, steps = in_order(examples, batch_size, shape, part, transform)

    def make_with_rows(number: int) -> Batch:
        batch = make(number)
        rows = np.arange(part.start, part.stop, dtype=np.int32) + number * batch_size
        batch["row"] = np.where(rows < len(examples), rows, NONE).astype(np.int32)
        batch["caption"] = np.full_like(rows, NONE)
        return batch

    return Batches(make_with_rows, steps, num_threads, num_workers)


def _check_frames(frames: int, rule: str, rules: Sequence[str]) -> None:
    if frames < 1:
        raise DataError(f"frames={frames}: must be 1 or more")
    if rule not in rules:
        raise unknown("rule for frames", rule, rules)

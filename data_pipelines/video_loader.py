"""Batches of videos for training and testing; as `loader` makes them of images."""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from data_pipelines.batches.mixing import GROUP, mix
from data_pipelines.batches.reading import Batches
from data_pipelines.errors import DataError, unknown
from data_pipelines.examples import Dataset, Example
from data_pipelines.loader import empty, in_order, total
from data_pipelines.videos.readers import CachedVideos
from prompt_jax.inputs.draws import (
    MIXING,
    TRAINING,
    VIEWS,
    check_training,
    generator,
    share,
    shuffled_rows,
    steps_per_epoch,
)
from prompt_jax.inputs.images.preprocessing import CLIP, Preprocessing
from prompt_jax.inputs.training_batches import Batch
from prompt_jax.inputs.videos import transforms, vifi
from prompt_jax.inputs.videos.opening import Video
from prompt_jax.inputs.videos.sampling import RULES, TEST_RULES, Rule, choose, segment_frames

# In "row": padding; in "caption": none was drawn.
NONE = -1

Augment = Literal["none", "vifi"]
AUGMENTS: tuple[str, ...] = get_args(Augment)
TRAIN_TRANSFORMS = {"none": transforms.train_transform, "vifi": vifi.train_transform}
Crop = Literal["clip", "vifi"]
CROPS: tuple[str, ...] = get_args(Crop)
_TEST = {"clip": transforms.test_transform, "vifi": vifi.test_transform}
# Crops of each video in `view_batches`.
THREE = 3


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
    augment: Augment = "none",
    preprocessing: Preprocessing = CLIP,
    mixed_classes: int = 0,
    num_threads: int | None = None,
    cache_bytes: int = 256 * 2**20,
    num_workers: int = 0,
    shard_index: int = 0,
    shard_count: int = 1,
) -> Batches:
    """Training batches: the pairs of videos and captions shuffled, and augmented, in every epoch.

    A video with several captions comes once per caption in an epoch. Crop and flip are the same
    for all frames of a video. What a batch depends on is as for `loader.train_batches`.

    Args:
        dataset: reads the videos.
        examples: the training examples.
        batch_size: pairs per batch, of all hosts together.
        frames: how many frames of a video are looked at; a shorter one repeats its last frame.
        image_size: side of a frame in the batch, in pixels.
        seed: of order, frames and augmentation, 0 to 2**32 - 1.
        num_epochs: when to stop; None never stops.
        rule: which frames, see `videos.sampling.choose`.
        flip: whether half of the videos are mirrored; not where left and right matter.
        augment: "none": crop and flip, see `videos.transforms`; "vifi": also colours, see
            `videos.vifi`. The rule "segment" goes with it.
        preprocessing: how frames are resized and normalised; "vifi" resizes in its own way.
        mixed_classes: K, to mix the videos of a batch, four by four, as `mixing.mix` does; 0: not.
        num_threads: as for `loader.train_batches`.
        cache_bytes: bound on the decoded frames kept in memory for later epochs, divided among
            the workers; 0 keeps none.
        num_workers: as for `loader.train_batches`.
        shard_index: as for `loader.train_batches`.
        shard_count: as for `loader.train_batches`.

    Returns:
        Iterator of {"image": float32[B, frames, image_size, image_size, 3], "label": int32[B],
        "row": int32[B], "caption": int32[B]}, the last two as of `training_pairs`. B is
        `batch_size` (or all pairs, if fewer) divided by `shard_count`. Of mixed videos these are
        the first of two, and "targets", float32[B, K], holds the shares of the classes; hosts
        mix their own videos.

    Raises:
        DataError: a setting is out of range; and from `next`, `BadImage`.
    """
    pairs = training_pairs(examples)
    steps = check_training(len(pairs), batch_size, seed, num_epochs)
    check_frames(frames, rule, RULES)
    check_augment(augment)
    if mixed_classes < 0:
        raise DataError(f"mixed_classes={mixed_classes}: must be 0 (no mixing) or more")
    part = share(min(batch_size, len(pairs)), shard_index, shard_count)
    read = CachedVideos(dataset.read, cache_bytes // max(1, num_workers))
    pairs_of = shuffled_rows(len(pairs), batch_size, seed, part)

    def make(number: int) -> Batch:
        epoch, first, places = pairs_of(number)
        batch = empty(len(places), (frames, image_size, image_size))
        batch["row"] = np.array([pairs[place][0] for place in places], np.int32)
        batch["caption"] = np.array([pairs[place][1] for place in places], np.int32)
        for i, row in enumerate(batch["row"]):
            rng = generator(seed, TRAINING, epoch * len(pairs) + first + i)
            video: Video = read(examples[row])
            chosen = choose(rule, video.count, frames, video.rate, rng).tolist()
            seen, out = video.frames(chosen), batch["image"][i]
            TRAIN_TRANSFORMS[augment](seen, image_size, rng, out, flip, preprocessing)
            batch["label"][i] = examples[row].label
        if mixed_classes:
            return _mix(batch, mixed_classes, seed, epoch * len(pairs) + first)
        return batch

    return Batches(make, total(steps, num_epochs), num_threads, num_workers)


def test_batches(
    dataset: Dataset,
    examples: Sequence[Example],
    batch_size: int,
    frames: int,
    image_size: int,
    rule: Rule = "centre",
    crop: Crop = "clip",
    preprocessing: Preprocessing = CLIP,
    num_threads: int | None = None,
    num_workers: int = 0,
    shard_index: int = 0,
    shard_count: int = 1,
) -> Batches:
    """Test batches in the examples' order, each video once, all of one size.

    Args:
        dataset: reads the videos.
        examples: what to go through, once.
        batch_size: examples per batch, of all hosts together; the last batch is filled up with
            black (all-zero) videos of label and row -1, so all hosts take as many steps.
        frames: as for `train_batches`.
        image_size: side of a frame in the batch, in pixels.
        rule: as for `train_batches`, but not "random" or "segment".
        crop: the middle of a frame "clip", CLIP's, or "vifi", with a seventh more around it that
            is cut off.
        preprocessing: as for `train_batches`.
        num_threads: as for `loader.train_batches`.
        num_workers: as for `loader.train_batches`.
        shard_index: as for `loader.train_batches`.
        shard_count: as for `loader.train_batches`.

    Returns:
        Iterator of batches as of `train_batches`, where B is `batch_size` / `shard_count`; no
        caption is drawn, so "caption" is -1.

    Raises:
        DataError: a setting is out of range; and from `next`, `BadImage`.
    """
    check_frames(frames, rule, TEST_RULES)
    if crop not in CROPS:
        raise unknown("crop of test videos", crop, CROPS)

    def transform(row: int, view: int, out: np.ndarray) -> None:
        video: Video = dataset.read(examples[row])
        chosen = choose(rule, video.count, frames, video.rate).tolist()
        _TEST[crop](video.frames(chosen), image_size, out, preprocessing)

    steps_per_epoch(len(examples), batch_size)
    part = share(batch_size, shard_index, shard_count)
    shape = (frames, image_size, image_size)
    make, steps = in_order(examples, batch_size, shape, part, transform)

    def make_with_rows(number: int) -> Batch:
        return make(number) | _rows(number, batch_size, part, len(examples))

    return Batches(make_with_rows, steps, num_threads, num_workers)


def view_batches(
    dataset: Dataset,
    examples: Sequence[Example],
    batch_size: int,
    frames: int,
    image_size: int,
    seed: int,
    views: int = 4,
    preprocessing: Preprocessing = CLIP,
    num_threads: int | None = None,
    num_workers: int = 0,
    shard_index: int = 0,
    shard_count: int = 1,
) -> Batches:
    """Test batches in which each video is seen several times: `views` x 3.

    A view looks at other frames, one at random of each segment as in training, and at three crops:
    the ends of a frame's long side, and its middle. The views of a video stand together and share
    its "row", so that an evaluator can sum their softmax: its [B, K] is [B / n, n, K].

    Args:
        dataset: reads the videos.
        examples: what to go through, once.
        batch_size: videos per batch, of all hosts together; padded as by `test_batches`.
        frames: as for `train_batches`, of each view.
        image_size: side of a frame in the batch, in pixels.
        seed: of the frames, 0 to 2**32 - 1: the same views each time.
        views: how many times frames are drawn.
        preprocessing: as for `train_batches`.
        num_threads: as for `loader.train_batches`.
        num_workers: as for `loader.train_batches`.
        shard_index: as for `loader.train_batches`.
        shard_count: as for `loader.train_batches`.

    Returns:
        Iterator of batches as of `test_batches`, B = n `batch_size` / `shard_count` with n = 3
        `views`.

    Raises:
        DataError: a setting is out of range; and from `next`, a video has fewer frames than views,
            or `BadImage`.

    Source: ViFi-CLIP's test of 4 x 3 views.
    """
    check_frames(frames, "segment", RULES)
    if views < 1:
        raise DataError(f"views={views}: must be 1 or more")
    check_training(len(examples), batch_size, seed, 1)

    def transform(row: int, _: int, out: np.ndarray) -> None:
        video = refuse_short(dataset, examples[row], views)
        rng = generator(seed, VIEWS, row)
        chosen = np.array([segment_frames(video.count, frames, rng) for _ in range(views)])
        # One pass over the video: each view in turn would decode most of it again.
        order = np.argsort(chosen, axis=None, kind="stable")
        seen = video.frames(chosen.ravel()[order].tolist())
        for frame, number in zip(seen, order.tolist(), strict=True):
            view, place = divmod(number, frames)
            vifi.three_crops(frame, image_size, out[view, :, place], preprocessing)

    part = share(batch_size, shard_index, shard_count)
    shape = (views, THREE, frames, image_size, image_size)
    make, steps = in_order(examples, batch_size, shape, part, transform)

    def make_with_rows(number: int) -> Batch:
        batch = make(number) | _rows(number, batch_size, part, len(examples))
        image = batch.pop("image")
        batch = {key: np.repeat(array, views * THREE) for key, array in batch.items()}
        return {"image": image.reshape(-1, *image.shape[3:]), **batch}

    return Batches(make_with_rows, steps, num_threads, num_workers)


def refuse_short(dataset: Dataset, example: Example, views: int) -> Video:
    """The video, if each view of it can be another one.

    Raises:
        DataError: it has fewer frames than views; and `BadImage`.
    """
    video: Video = dataset.read(example)
    if video.count < views:
        raise DataError(
            f"{dataset.name}: the video {example.image} has {video.count} frames, fewer "
            f"than views={views}, which would be the same; set fewer views, or leave it out"
        )
    return video


def _rows(number: int, batch_size: int, part: slice, count: int) -> Batch:
    """Which examples a batch in order holds, in the form of `training_pairs`."""
    rows = np.arange(part.start, part.stop, dtype=np.int32) + number * batch_size
    row = np.where(rows < count, rows, NONE).astype(np.int32)
    return {"row": row, "caption": np.full_like(rows, NONE)}


def _mix(batch: Batch, classes: int, seed: int, first: int) -> Batch:
    """Mixes each `GROUP` videos with one another; `first` is the place of the first in training."""
    targets = []
    for begin in range(0, len(batch["label"]), GROUP):
        few = {key: batch[key][begin : begin + GROUP] for key in ("image", "label")}
        targets.append(mix(few, classes, generator(seed, MIXING, first + begin))["targets"])
    return {**batch, "targets": np.concatenate(targets)}


def check_augment(augment: str) -> None:
    """Refuses an augmentation that there is not."""
    if augment not in AUGMENTS:
        raise unknown("augmentation of videos", augment, AUGMENTS)


def check_frames(frames: int, rule: str, rules: Sequence[str]) -> None:
    """Refuses a number of frames or a rule for them out of range."""
    if frames < 1:
        raise DataError(f"frames={frames}: must be 1 or more")
    if rule not in rules:
        raise unknown("rule for frames", rule, rules)

"""Multi-view testing of videos: different frames, each with three crops."""

from collections.abc import Sequence

import numpy as np

from data_pipelines.batches.options import ReadOptions
from data_pipelines.batches.reading import Batches
from data_pipelines.errors import DataError
from data_pipelines.examples import Dataset, Example
from data_pipelines.loader import READ, check_frames, in_order, rows_in_order
from prompt_jax.inputs.draws import VIEWS, check_training, generator
from prompt_jax.inputs.preparation import Inputs
from prompt_jax.inputs.training_batches import Batch
from prompt_jax.inputs.videos import vifi
from prompt_jax.inputs.videos.opening import Video
from prompt_jax.inputs.videos.sampling import RULES, segment_frames

CROPS_OF_A_VIEW = 3


def view_batches(
    dataset: Dataset,
    examples: Sequence[Example],
    inputs: Inputs,
    batch_size: int,
    seed: int,
    views: int = 4,
    *,
    options: ReadOptions = READ,
) -> Batches:
    """Returns test batches with `views` x 3 views of each video.

    A view samples a random frame of each segment, as in training, and has three crops: both ends
    and the middle of the long side. The views of a video are consecutive rows with the same "row",
    so that an evaluator can sum their softmax: its [B, K] is [B / n, n, K].

    Args:
        dataset: reads the videos.
        examples: the test examples.
        inputs: image size, frames of each view and normalization.
        batch_size: videos per batch, of all hosts together; padded as by `loader.test_batches`.
        seed: of the frames, 0 to 2**32 - 1: the same views each time.
        views: how often frames are sampled.
        options: how batches are read.

    Returns:
        Iterator of batches as `loader.test_batches`, B = n `batch_size` / hosts with n = 3 `views`.

    Raises:
        DataError: a setting is out of range; and from `next`, a video has fewer frames than views,
            or `BadImage`.

    Source: ViFi-CLIP's test of 4 x 3 views.
    """
    check_frames(dataset, inputs.frames, "segment", RULES)
    if views < 1:
        raise DataError(f"views={views}: must be 1 or more")
    check_training(len(examples), batch_size, seed, 1)
    frames, size = inputs.frames, inputs.image_size

    def transform(row: int, _: int, out: np.ndarray) -> None:
        video = open_for_views(dataset, examples[row], views)
        rng = generator(seed, VIEWS, row)
        chosen = np.array([segment_frames(video.count, frames, rng) for _ in range(views)])
        # In one pass: each view on its own would decode most of the video again.
        order = np.argsort(chosen, axis=None, kind="stable")
        seen = video.frames(chosen.ravel()[order].tolist())
        for frame, number in zip(seen, order.tolist(), strict=True):
            view, place = divmod(number, frames)
            vifi.three_crops(frame, size, out[view, :, place], inputs.preprocessing)

    part = options.share(batch_size)
    each = views, CROPS_OF_A_VIEW
    make, steps = in_order(examples, batch_size, inputs, part, transform, each)

    def make_with_rows(number: int) -> Batch:
        batch = make(number) | rows_in_order(number, batch_size, part, len(examples))
        image = batch.pop("image")
        batch = {key: np.repeat(array, views * CROPS_OF_A_VIEW) for key, array in batch.items()}
        return {"image": image.reshape(-1, *inputs.shape), **batch}

    return Batches(make_with_rows, steps, options.num_threads, options.num_workers)


def check_views(dataset: Dataset, examples: Sequence[Example], views: int) -> None:
    """Checks that `view_batches` can read all examples.

    Raises:
        DataError: a video has fewer frames than views; and `BadImage`.
    """
    for example in examples:
        open_for_views(dataset, example, views)


def open_for_views(dataset: Dataset, example: Example, views: int) -> Video:
    """Opens a video and checks that its views can differ.

    Raises:
        DataError: it has fewer frames than views; and `BadImage`.
    """
    video: Video = dataset.read(example)
    if video.count < views:
        raise DataError(
            f"{dataset.name}: the video {example.image} has {video.count} frames, fewer "
            f"than views={views}, so views would repeat; set fewer views, or remove the video"
        )
    return video

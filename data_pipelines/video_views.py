"""Views of videos: training videos whose features are kept, and test videos seen several times."""

from collections.abc import Sequence

import numpy as np

from data_pipelines.batches.reading import Batches
from data_pipelines.errors import DataError
from data_pipelines.examples import Dataset, Example
from data_pipelines.loader import in_order
from data_pipelines.video_loader import (
    TRAIN_TRANSFORMS,
    Augment,
    check_augment,
    check_frames,
    refuse_short,
)
from prompt_jax.inputs.draws import VIEWS, check_training, generator
from prompt_jax.inputs.images.preprocessing import CLIP, Preprocessing
from prompt_jax.inputs.videos.opening import Video
from prompt_jax.inputs.videos.sampling import RULES, Rule, choose


def train_views(
    dataset: Dataset,
    examples: Sequence[Example],
    batch_size: int,
    frames: int,
    image_size: int,
    seed: int,
    views: int,
    rule: Rule = "centre",
    flip: bool = True,
    augment: Augment = "none",
    preprocessing: Preprocessing = CLIP,
    num_threads: int | None = None,
    num_workers: int = 0,
) -> Batches:
    """All examples in order, `views` times over, each time augmented anew; as `loader.train_views`.

    Args:
        dataset, examples, frames, image_size, rule, flip, augment, preprocessing: as for
            `train_batches`.
        batch_size: examples per batch; the last one of a pass is padded with label -1.
        seed: of frames and augmentation, 0 to 2**32 - 1.
        views: how many augmented views of each video, 1 or more.
        num_threads, num_workers: as for `loader.train_batches`.

    Returns:
        Iterator of views * ceil(n / batch_size) batches {"image": float32[batch_size, frames,
        image_size, image_size, 3], "label": int32[batch_size]}.

    Raises:
        DataError: a setting is out of range; and from `next`, `BadImage`.
    """
    check_training(len(examples), batch_size, seed, 1)
    check_frames(frames, rule, RULES)
    check_augment(augment)
    if views < 1:
        raise DataError(f"views={views}: must be 1 or more")

    def transform(row: int, view: int, out: np.ndarray) -> None:
        rng = generator(seed, VIEWS, view * len(examples) + row)
        video: Video = dataset.read(examples[row])
        chosen = choose(rule, video.count, frames, video.rate, rng).tolist()
        TRAIN_TRANSFORMS[augment](video.frames(chosen), image_size, rng, out, flip, preprocessing)

    shape = (frames, image_size, image_size)
    make, steps = in_order(examples, batch_size, shape, slice(0, batch_size), transform)
    return Batches(make, views * steps, num_threads, num_workers)


def check_views(dataset: Dataset, examples: Sequence[Example], views: int) -> None:
    """Refuses what `view_batches` would, before it gets there.

    Raises:
        DataError: a video has fewer frames than views; and `BadImage`.
    """
    for example in examples:
        refuse_short(dataset, example, views)

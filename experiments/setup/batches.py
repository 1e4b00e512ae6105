"""Makes the batches of a run: for training, cached features and testing."""

import dataclasses
from collections.abc import Callable, Iterable

import numpy as np

from data_pipelines import loader, video_views
from data_pipelines.batches.options import ReadOptions
from data_pipelines.batches.reading import Batches
from data_pipelines.examples import Dataset, Example
from experiments.config.config import Config
from prompt_jax import methods
from prompt_jax.errors import PromptError
from prompt_jax.inputs import training_batches
from prompt_jax.inputs.augmenting import Augmentation
from prompt_jax.inputs.draws import shuffled_rows, steps_per_epoch
from prompt_jax.inputs.images.preprocessing import CLIP, Preprocessing
from prompt_jax.inputs.preparation import Inputs
from prompt_jax.inputs.videos.sampling import for_tests
from prompt_jax.methods import Method, check_frame_groups

# Seed of the frames in test views, so that all runs are tested on the same frames.
VIEW_SEED = 0


@dataclasses.dataclass(frozen=True)
class RunBatches:
    """Batches {"image": float32[B, *inputs.shape], "label": int32[B], …} of a run.

    Attributes:
        inputs: image size, preprocessing and, for videos, frames, as in testing.
        augmentation: augmentation of training examples.
        batch_size: examples per training step.
        eval_batch_size: examples per step in testing and feature extraction.
        seed: seed of order and augmentation.
        options: reading threads and processes.
        mix: whether training videos are mixed and labels smoothed.
        video_views: draws of frames per test video, with three crops each; 0: a single view.
        train_frames: frames per training video; 0: as in testing, with one pass.
    """

    inputs: Inputs
    augmentation: Augmentation
    batch_size: int
    eval_batch_size: int
    seed: int
    options: ReadOptions
    mix: bool = False
    video_views: int = 0
    train_frames: int = 0

    @property
    def test_views(self) -> int:
        """Returns the number of consecutive rows of a test batch that show the same example."""
        return max(1, self.video_views * video_views.CROPS_OF_A_VIEW)

    @property
    def train_inputs(self) -> Inputs:
        """Returns `inputs` with the frames of training videos."""
        frames = self.train_frames or self.inputs.frames
        return dataclasses.replace(self.inputs, frames=frames, passes=1)

    def train(self, dataset: Dataset) -> Batches:
        """Returns endless batches of the training examples, augmented."""
        return loader.train_batches(
            dataset,
            dataset.train,
            self.train_inputs,
            self.batch_size,
            self.seed,
            augmentation=self.augmentation,
            mixed_classes=len(dataset.class_names) if self.mix else 0,
            options=self.options,
        )

    def views(self, dataset: Dataset, views: int) -> Batches:
        """Returns batches of `views` consecutive passes over the augmented training examples."""
        return loader.train_views(
            dataset,
            dataset.train,
            self.train_inputs,
            self.eval_batch_size,
            self.seed,
            views,
            augmentation=self.augmentation,
            options=self.options,
        )

    def test(self, dataset: Dataset, examples: tuple[Example, ...]) -> Batches:
        """Returns batches of examples in order, not augmented; the last batch is padded.

        With `video_views`, each video has `test_views` rows, the same for all seeds.
        """
        of = dataset, examples, self.inputs, self.eval_batch_size
        if self.video_views:
            return video_views.view_batches(*of, VIEW_SEED, self.video_views, options=self.options)
        return loader.test_batches(*of, options=self.options)

    def features(self, features: np.ndarray, labels: np.ndarray) -> training_batches.Batches:
        """Returns endless batches of cached features float32[V, n, …], in the order of `train`."""
        part = {"shard_index": self.options.shard_index, "shard_count": self.options.shard_count}
        return training_batches.feature_batches(
            features, labels, self.batch_size, self.seed, **part
        )

    def order(self, number: int) -> Callable[[int], np.ndarray]:
        """Returns a function from a batch's number to its examples, int[B], of all hosts."""
        rows_of = shuffled_rows(
            number, self.batch_size, self.seed, slice(0, min(self.batch_size, number))
        )
        return lambda batch: rows_of(batch)[2]

    def train_examples(self, dataset: Dataset) -> int:
        """Returns the examples per epoch: images, or pairs of a video and a caption."""
        if not self.inputs.frames:
            return len(dataset.train)
        return len(loader.training_pairs(dataset.train))

    def train_steps(self, number: int) -> int:
        """Returns the steps per epoch for `number` training examples."""
        return steps_per_epoch(number, self.batch_size)

    def test_steps(self, number: int) -> int:
        """Returns the number of test batches for `number` examples."""
        return -(-number // self.eval_batch_size)


def make_batches(
    config: Config,
    image_size: int,
    kind: str,
    preprocessing: Preprocessing = CLIP,
    share: tuple[int, int] = (0, 1),
) -> RunBatches:
    """Returns the batches of a config, of images or videos, for a backbone.

    `share` is which part of each batch this host reads, and the number of parts.
    """
    data = config.data
    threads = None if data.num_threads < 0 else data.num_threads
    options = ReadOptions(threads, data.num_workers, shard_index=share[0], shard_count=share[1])
    sizes = config.batch_size, config.eval_batch_size, config.seed, options
    method = methods.of_images(config.method)
    views = method.views if method else ()
    if kind != "videos":
        return RunBatches(Inputs.of(image_size, preprocessing), Augmentation(views=views), *sizes)
    rule, frames = for_tests(data.frame_rule), data.test_frames or data.frames
    return RunBatches(
        Inputs.of(image_size, preprocessing, frames, rule, data.crop, passes=data.test_passes),
        Augmentation(data.flip, data.frame_rule, data.augment, views),
        *sizes,
        mix=data.mix,
        video_views=data.views,
        train_frames=data.frames,
    )


def check_frames(config: Config, method: Method) -> None:
    """Raises PromptError if the method does not take videos of so many frames."""
    data = config.data
    if not data.on_videos:
        return
    if config.settings.get("frames", 0) not in (0, data.frames):
        raise PromptError(
            f"config.settings.frames={config.settings['frames']}, and config.data.frames="
            f"{data.frames}: {config.method} has prompts for each frame, so both must "
            f"be equal; give --config.settings.frames={data.frames} too"
        )
    if config.settings.get("frames", 0) and data.test_frames not in (0, data.frames):
        raise PromptError(
            f"config.data.test_frames={data.test_frames}, and config.data.frames={data.frames}: "
            f"{config.method} has prompts for each frame; leave test_frames at 0"
        )
    rule = for_tests(data.frame_rule)
    frames = data.test_frames or data.frames
    if data.test_passes > 1 and (rule != "centre" or frames % data.test_passes):
        raise PromptError(
            f"config.data.test_passes={data.test_passes}: it must divide the {frames} frames of a "
            "test video, and config.data.frame_rule must be centre or random"
        )
    settings = method.Settings(**config.settings)
    for field in ("frames", "test_frames"):
        check_frame_groups(method, settings, getattr(data, field), f"config.data.{field}")


def check_views(tests: Iterable[Dataset], views: int) -> None:
    """Checks before training that test videos have at least as many frames as views.

    Raises:
        DataError: names the first shorter video.
    """
    if views:
        for dataset in tests:
            video_views.check_views(dataset, dataset.test, views)

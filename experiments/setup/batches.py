"""How the examples of a run become batches: for training, for kept features, for testing."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from data_pipelines import loader, video_loader, video_views
from data_pipelines.batches.reading import Batches
from data_pipelines.examples import Dataset, Example
from experiments.config.config import Config
from prompt_jax.clip.captions import Captions
from prompt_jax.clip.packing import pack_captions
from prompt_jax.inputs import training_batches
from prompt_jax.inputs.draws import steps_per_epoch
from prompt_jax.inputs.images.preprocessing import CLIP, Preprocessing
from prompt_jax.inputs.training_batches import feature_batches
from prompt_jax.inputs.videos.sampling import for_tests

# Of the frames in the views of test videos: all runs are tested on the same ones.
VIEW_SEED = 0


@dataclasses.dataclass(frozen=True)
class ImageBatches:
    """Batches {"image": float32[B, S, S, 3], "label": int32[B]} of a run's images.

    Attributes:
        image_size: S, pixels, of the backbone.
        batch_size: images per step of training.
        eval_batch_size: images per step of all else.
        seed: of order and augmentation.
        reading: threads and processes, as the loader takes them.
        preprocessing: how they are resized, cut out and normalised.
    """

    image_size: int
    batch_size: int
    eval_batch_size: int
    seed: int
    reading: dict[str, Any]
    preprocessing: Preprocessing = dataclasses.field(default=CLIP, kw_only=True)

    test_views = 1
    """Rows of a test batch, one after another, that show the same image."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one image, (S, S, 3)."""
        return self.image_size, self.image_size, 3

    @property
    def _reading(self) -> dict[str, Any]:
        return {**self.reading, "preprocessing": self.preprocessing}

    def train(self, dataset: Dataset) -> Batches:
        """Endless batches of the training images, augmented."""
        return loader.train_batches(
            dataset, dataset.train, self.batch_size, self.image_size, self.seed, **self._reading
        )

    def views(self, dataset: Dataset, views: int) -> Batches:
        """So many augmented views of the training images, one after another, in order."""
        return loader.train_views(
            dataset,
            dataset.train,
            self.eval_batch_size,
            self.image_size,
            self.seed,
            views,
            **self._reading,
        )

    def test(self, dataset: Dataset, examples: tuple[Example, ...]) -> Batches:
        """Images of a data set as they are, in order; the last batch is padded."""
        return loader.test_batches(
            dataset, examples, self.eval_batch_size, self.image_size, **self._reading
        )

    def features(self, features: np.ndarray, labels: np.ndarray) -> training_batches.Batches:
        """Endless batches of kept features float32[V, n, …], in the order of `train`."""
        return feature_batches(features, labels, self.batch_size, self.seed)

    def train_examples(self, dataset: Dataset) -> int:
        """What an epoch goes through: the training images."""
        return len(dataset.train)

    def train_steps(self, number: int) -> int:
        """Steps of an epoch on so many training images."""
        return steps_per_epoch(number, self.batch_size)

    def test_steps(self, number: int) -> int:
        """Batches of so many images in order."""
        return -(-number // self.eval_batch_size)


@dataclasses.dataclass(frozen=True)
class VideoBatches(ImageBatches):
    """Batches {"image": float32[B, F, S, S, 3], "label": int32[B], …} of a run's videos.

    Attributes:
        frames: F.
        rule: which frames, in training; in testing what `for_tests` makes of it.
        flip: whether half of the training videos are mirrored.
        augment: what else is done to them.
        mix: whether they are mixed, and labels smoothed.
        crop: what of a frame is seen in testing.
        video_views: how often frames of a test video are drawn, each in three crops; 0: seen once.
    """

    frames: int
    rule: Any
    flip: bool
    augment: Any
    mix: bool
    crop: Any
    video_views: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one video, (F, S, S, 3)."""
        return self.frames, *super().shape

    @property
    def test_views(self) -> int:  # type: ignore[override]
        """Rows of a test batch, one after another, that show the same video."""
        return max(1, self.video_views * video_loader.THREE)

    def train(self, dataset: Dataset) -> Batches:
        """Endless batches of the training videos, a pair for each caption; "row" and "caption" say
        which."""
        return video_loader.train_batches(
            dataset,
            dataset.train,
            self.batch_size,
            self.frames,
            self.image_size,
            self.seed,
            **self._augmentation,
            mixed_classes=len(dataset.class_names) if self.mix else 0,
            **self._reading,
        )

    @property
    def _augmentation(self) -> dict[str, Any]:
        return {
            "rule": self.rule,
            "flip": self.flip,
            "augment": self.augment,
        }

    def views(self, dataset: Dataset, views: int) -> Batches:
        """So many augmented views of the training videos, one after another, in order."""
        return video_views.train_views(
            dataset,
            dataset.train,
            self.eval_batch_size,
            self.frames,
            self.image_size,
            self.seed,
            views,
            **self._augmentation,
            **self._reading,
        )

    def test(self, dataset: Dataset, examples: tuple[Example, ...]) -> Batches:
        """Videos of a data set as they are, in order; the last batch is padded.

        Or `test_views` views of each, the same ones for all seeds.
        """
        if self.video_views:
            return video_loader.view_batches(
                dataset,
                examples,
                self.eval_batch_size,
                self.frames,
                self.image_size,
                VIEW_SEED,
                self.video_views,
                **self._reading,
            )
        return video_loader.test_batches(
            dataset,
            examples,
            self.eval_batch_size,
            self.frames,
            self.image_size,
            for_tests(self.rule),
            self.crop,
            **self._reading,
        )

    def train_examples(self, dataset: Dataset) -> int:
        """What an epoch goes through: the pairs of a video and a caption."""
        return len(video_loader.training_pairs(dataset.train))


class PairBatches(Iterator[dict[str, Any]]):
    """Training batches of videos with their captions.

    {"image": float32[B, F, S, S, 3], "text": `PackedTokens` of B captions, "label": 0 … B - 1}.
    """

    def __init__(self, videos: Batches, dataset: Dataset, captions: Captions, devices: int):
        """Puts captions to the videos of `videos`.

        Args:
            videos: of `VideoBatches.train`.
            dataset: theirs.
            captions: of all its training videos, one video's after another's.
            devices: over how many a batch is split.
        """
        numbers = [len(example.captions) for example in dataset.train]
        self._first = np.concatenate([[0], np.cumsum(numbers)])
        self._videos, self._tokens, self._devices = videos, captions.tokens, devices

    def __next__(self) -> dict[str, Any]:
        batch = next(self._videos)
        places = self._first[batch["row"]] + batch["caption"]
        texts = pack_captions([self._tokens[place] for place in places], self._devices)
        return {
            "image": batch["image"],
            "text": texts,
            "label": np.arange(len(places), dtype=np.int32),
        }

    def get_state(self) -> dict[str, int]:
        """See `Batches`."""
        return self._videos.get_state()

    def state_after(self, batches: int) -> dict[str, int]:
        """See `Batches`."""
        return self._videos.state_after(batches)

    def set_state(self, state: dict[str, int]) -> None:
        """See `Batches`."""
        self._videos.set_state(state)

    def close(self) -> None:
        """See `Batches`."""
        self._videos.close()


def make_batches(
    config: Config, image_size: int, kind: str, preprocessing: Preprocessing = CLIP
) -> ImageBatches:
    """The batches that a config asks for, of images or videos for a backbone."""
    threads = None if config.data.num_threads < 0 else config.data.num_threads
    fields: dict[str, Any] = {
        "image_size": image_size,
        "batch_size": config.batch_size,
        "eval_batch_size": config.eval_batch_size,
        "seed": config.seed,
        "reading": {"num_threads": threads, "num_workers": config.data.num_workers},
        "preprocessing": preprocessing,
    }
    if kind == "videos":
        data = config.data
        return VideoBatches(
            **fields,
            frames=data.frames,
            rule=data.frame_rule,
            flip=data.flip,
            augment=data.augment,
            mix=data.mix,
            crop=data.crop,
            video_views=data.views,
        )
    return ImageBatches(**fields)

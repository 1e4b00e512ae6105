"""How the pictures of a run become batches: for training, for kept features, for testing."""

import dataclasses
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from data_pipelines import loader
from data_pipelines.examples import Dataset, Example
from data_pipelines.reading import Batches


@dataclasses.dataclass(frozen=True)
class PictureBatches:
    """Batches {"image": float32[B, S, S, 3], "label": int32[B]} of a run's pictures.

    Attributes:
        image_size: S, pixels, of the backbone.
        batch_size: pictures per step of training.
        eval_batch_size: pictures per step of all else.
        seed: of order and augmentation.
        reading: threads and processes, as the loader takes them.
    """

    image_size: int
    batch_size: int
    eval_batch_size: int
    seed: int
    reading: dict[str, Any]

    def train(self, dataset: Dataset) -> Batches:
        """Endless batches of the training pictures, augmented."""
        return loader.train_batches(
            dataset, dataset.train, self.batch_size, self.image_size, self.seed, **self.reading
        )

    def views(self, dataset: Dataset, views: int) -> Batches:
        """So many augmented views of the training pictures, one after another, in order."""
        return loader.train_views(
            dataset,
            dataset.train,
            self.eval_batch_size,
            self.image_size,
            self.seed,
            views,
            **self.reading,
        )

    def test(self, dataset: Dataset, examples: tuple[Example, ...]) -> Batches:
        """Pictures of a data set as they are, in order; the last batch is padded."""
        return loader.test_batches(
            dataset, examples, self.eval_batch_size, self.image_size, **self.reading
        )

    def features(self, features: np.ndarray, labels: np.ndarray) -> Batches:
        """Endless batches of kept features float32[V, n, d], in the order of `train`."""
        return loader.feature_batches(features, labels, self.batch_size, self.seed)

    def train_steps(self, number: int) -> int:
        """Steps of an epoch on so many training pictures."""
        return loader.steps_per_epoch(number, self.batch_size)

    def test_steps(self, number: int) -> int:
        """Batches of so many pictures in order."""
        return -(-number // self.eval_batch_size)


def picture_batches(config: ConfigDict, image_size: int) -> PictureBatches:
    """The batches that a config asks for, of pictures for a backbone."""
    threads = None if config.data.num_threads < 0 else config.data.num_threads
    return PictureBatches(
        image_size=image_size,
        batch_size=config.batch_size,
        eval_batch_size=config.eval_batch_size,
        seed=config.seed,
        reading={"num_threads": threads, "num_workers": config.data.num_workers},
    )

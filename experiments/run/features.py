"""Image features that are computed once, for methods that leave the image tower alone."""

from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from data_pipelines import loader
from data_pipelines.examples import Dataset
from experiments.run import progress
from prompt_jax.clip import CLIP, Frozen
from prompt_jax.sharding import Placement


class FeatureMaker:
    """The frozen image tower on pictures of one backbone, compiled once."""

    def __init__(self, clip: CLIP, frozen: Frozen, config: ConfigDict, placement: Placement):
        """Takes batch size and reading threads from `config`."""
        self._frozen, self._placement = frozen, placement
        self._batch_size = config.eval_batch_size
        self._options = read_options(config)
        self._image_size = clip.config.image_size
        self._seed = config.seed
        self._encode = jax.jit(clip.encode_image)

    def of_views(self, dataset: Dataset, views: int) -> np.ndarray:
        """Features float32[views, n, d] of so many augmented views of the training pictures."""
        batches = loader.train_views(
            dataset,
            dataset.train,
            self._batch_size,
            self._image_size,
            self._seed,
            views,
            **self._options,
        )
        total = views * -(-len(dataset.train) // self._batch_size)
        rows, _ = self._run(f"features of {views} views", batches, total)
        return rows.reshape(views, len(dataset.train), -1)

    def of_validation(self, dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
        """Features float32[n, d] and labels int32[n] of the validation pictures; n may be 0."""
        if not dataset.val:
            width = jax.eval_shape(self._encode, self._frozen, self._blank()).shape[-1]
            return np.zeros((0, width), np.float32), np.zeros(0, np.int32)
        batches = loader.test_batches(
            dataset, dataset.val, self._batch_size, self._image_size, **self._options
        )
        total = -(-len(dataset.val) // self._batch_size)
        return self._run("validation features", batches, total)

    def _blank(self):
        return np.zeros((1, self._image_size, self._image_size, 3), np.float32)

    def _run(self, title: str, batches: Iterable[dict[str, np.ndarray]], total: int):
        features, labels = [], []
        with progress.bar(title, total) as advance:
            for done, batch in enumerate(batches, 1):
                placed = self._placement.split(batch)
                features.append(np.asarray(self._encode(self._frozen, placed["image"]), np.float32))
                labels.append(batch["label"])
                advance(done, "")
        kept = np.concatenate(labels)
        real = kept != loader.PADDING_LABEL
        return np.concatenate(features)[real], kept[real]


def read_options(config: ConfigDict) -> dict[str, Any]:
    """How pictures are read, as the loader takes it."""
    threads = None if config.data.num_threads < 0 else config.data.num_threads
    return {"num_threads": threads, "num_workers": config.data.num_workers}

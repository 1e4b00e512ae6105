"""Computes image features once, for methods that do not prompt the image tower."""

import jax
import numpy as np

from data_pipelines.examples import Dataset
from experiments.setup.batches import RunBatches
from prompt_jax.clip import CLIP, Frozen
from prompt_jax.training import features
from prompt_jax.training.sharding import Placement


class FeatureMaker:
    """A compiled frozen image tower for the images of a run."""

    def __init__(self, clip: CLIP, frozen: Frozen, batches: RunBatches, placement: Placement):
        """Takes the model, its parameters, the reader of the images, and the devices."""
        self._maker = features.FeatureMaker(clip, frozen, placement)
        self._frozen, self._batches = frozen, batches

    def of_views(self, dataset: Dataset, views: int) -> np.ndarray:
        """Returns features of `views` augmented views of the training images or videos.

        Shape: float32[views, n, d], or float32[views, n, F, d] for methods on frame features.
        """
        total = views * self._batches.test_steps(len(dataset.train))
        batches = self._batches.views(dataset, views)
        rows, _ = self._maker.run(f"features of {views} views", batches, total)
        return rows.reshape(views, len(dataset.train), *rows.shape[1:])

    def of_validation(self, dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
        """Returns features float32[n, d] and labels int32[n] of validation images; n may be 0."""
        if not dataset.val:
            blank = np.zeros((1, *self._batches.inputs.shape), np.float32)
            width = jax.eval_shape(self._maker.encode, self._frozen, blank).shape[-1]
            return np.zeros((0, width), np.float32), np.zeros(0, np.int32)
        total = self._batches.test_steps(len(dataset.val))
        batches = self._batches.test(dataset, dataset.val)
        return self._maker.run("validation features", batches, total)

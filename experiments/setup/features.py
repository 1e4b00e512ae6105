"""Image features that are computed once, for methods that leave the image tower alone."""

import jax
import numpy as np

from data_pipelines.examples import Dataset
from experiments.setup.batches import RunBatches
from prompt_jax.clip import CLIP, Frozen
from prompt_jax.training import features
from prompt_jax.training.sharding import Placement


class FeatureMaker:
    """The frozen image tower on the images of a run, compiled once."""

    def __init__(self, clip: CLIP, frozen: Frozen, batches: RunBatches, placement: Placement):
        """Reads images as `batches` says."""
        self._maker = features.FeatureMaker(clip, frozen, placement)
        self._frozen, self._batches = frozen, batches

    def of_views(self, dataset: Dataset, views: int) -> np.ndarray:
        """Returns features of so many augmented views of the training images or videos.

        float32[views, n, d]; float32[views, n, F, d] where the method sees those of frames.
        """
        total = views * self._batches.test_steps(len(dataset.train))
        batches = self._batches.views(dataset, views)
        rows, _ = self._maker.run(f"features of {views} views", batches, total)
        return rows.reshape(views, len(dataset.train), *rows.shape[1:])

    def of_validation(self, dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
        """Returns features float32[n, d] and labels int32[n] of the validation images, n from 0."""
        if not dataset.val:
            blank = np.zeros((1, *self._batches.inputs.shape), np.float32)
            width = jax.eval_shape(self._maker.encode, self._frozen, blank).shape[-1]
            return np.zeros((0, width), np.float32), np.zeros(0, np.int32)
        total = self._batches.test_steps(len(dataset.val))
        batches = self._batches.test(dataset, dataset.val)
        return self._maker.run("validation features", batches, total)

"""Image features that are computed once, for methods that leave the image tower alone."""

from collections.abc import Iterable

import jax
import numpy as np

from data_pipelines.examples import Dataset
from experiments.setup.batches import ImageBatches
from prompt_jax.cli import progress
from prompt_jax.clip import CLIP, Frozen
from prompt_jax.inputs.draws import PADDING_LABEL
from prompt_jax.training.sharding import Placement


class FeatureMaker:
    """The frozen image tower on images of one backbone, compiled once."""

    def __init__(self, clip: CLIP, frozen: Frozen, batches: ImageBatches, placement: Placement):
        """Reads images as `batches` says."""
        self._frozen, self._placement, self._batches = frozen, placement, batches
        self._encode = jax.jit(clip.encode_image)

    def of_views(self, dataset: Dataset, views: int) -> np.ndarray:
        """Features of so many augmented views of the training images or videos.

        float32[views, n, d]; float32[views, n, F, d] where the method sees those of frames.
        """
        total = views * self._batches.test_steps(len(dataset.train))
        batches = self._batches.views(dataset, views)
        rows, _ = self._run(f"features of {views} views", batches, total)
        return rows.reshape(views, len(dataset.train), *rows.shape[1:])

    def of_validation(self, dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
        """Features float32[n, d] and labels int32[n] of the validation images; n may be 0."""
        if not dataset.val:
            blank = np.zeros((1, *self._batches.shape), np.float32)
            width = jax.eval_shape(self._encode, self._frozen, blank).shape[-1]
            return np.zeros((0, width), np.float32), np.zeros(0, np.int32)
        total = self._batches.test_steps(len(dataset.val))
        return self._run("validation features", self._batches.test(dataset, dataset.val), total)

    def _run(self, title: str, batches: Iterable[dict[str, np.ndarray]], total: int):
        features, labels = [], []
        with progress.bar(title, total) as advance:
            for done, batch in enumerate(batches, 1):
                placed = self._placement.split(batch)
                features.append(np.asarray(self._encode(self._frozen, placed["image"]), np.float32))
                labels.append(batch["label"])
                advance(done, "")
        kept = np.concatenate(labels)
        real = kept != PADDING_LABEL
        return np.concatenate(features)[real], kept[real]

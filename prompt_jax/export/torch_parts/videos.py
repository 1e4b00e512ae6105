"""The base class of classifiers of videos."""

from typing import Any

from torch import Tensor

from prompt_jax.export.torch_parts.classifier import Classifier
from prompt_jax.export.torch_parts.frames import preprocess_video


class OfVideos(Classifier):
    """A `Classifier` of videos float[B, F, 3, S, S] in place of images float[B, 3, S, S]."""

    def preprocess(self, image: Any) -> Tensor:
        """Returns a video, see `open_video`, as the model takes it, float32[F, 3, S, S]."""
        return preprocess_video(image, self.config["inputs"])

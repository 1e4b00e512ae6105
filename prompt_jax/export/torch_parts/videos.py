"""What all methods have in common on videos."""

from typing import Any

from torch import Tensor

from prompt_jax.export.torch_parts.classifier import Classifier
from prompt_jax.export.torch_parts.frames import preprocess_video


class OfVideos(Classifier):
    """Videos against classes: as `Classifier`, with float[B, F, 3, S, S], F frames in a row, where
    it has images float[B, 3, S, S].
    """

    def preprocess(self, image: Any) -> Tensor:
        """A video, see `open_clip`, as the model takes it, float32[F, 3, S, S]."""
        return preprocess_video(image, self.config["inputs"])

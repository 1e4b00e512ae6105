"""What all methods have in common on clips."""

from typing import Any

from torch import Tensor

from prompt_jax.export.torch_parts.classifier import Classifier
from prompt_jax.export.torch_parts.frames import preprocess_clip


class OfClips(Classifier):
    """Clips against classes: as `Classifier`, with float[B, F, 3, S, S], F frames in a row, where
    it has pictures float[B, 3, S, S].
    """

    def preprocess(self, picture: Any) -> Tensor:
        """A clip, see `open_clip`, as the model takes it, float32[F, 3, S, S]."""
        return preprocess_clip(picture, self.config["inputs"])

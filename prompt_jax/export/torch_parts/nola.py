"""NoLA: prompts, LayerNorms and a classifier learned without labels (Imam et al., 2024)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from prompt_jax.export.torch_parts.block_names import load_norms
from prompt_jax.export.torch_parts.classifier import Classifier
from prompt_jax.export.torch_parts.clip import CLIP


class NoLA(Classifier):
    """A linear classifier of image features, which are not normalized."""

    new_classes = False

    def __init__(self, clip: CLIP, arrays: Mapping[str, Tensor], config: Mapping[str, Any]):
        """Takes the arguments of `Classifier`; loads the LayerNorms into the backbone.

        Raises:
            ValueError: the backbone has no array of such a name.
        """
        super().__init__(clip, load_norms(clip, arrays), config)

    def prepare(self) -> None:
        """Takes the classifier's rows float[K, d].

        Raises:
            ValueError: a class was not trained.
        """
        for name, number in zip(self.names, self.trained.tolist(), strict=True):
            if number < 0:
                raise ValueError(
                    f"there are no text features of class {name!r}, as the classifier was not "
                    "trained on it; name trained classes only"
                )
        self.keep("classes", self.prompts.classifier[self.trained])

    def encode(self, images: Tensor) -> Tensor:
        """Returns image features float[B, d], with prompts between class token and patches."""
        x = self.clip.visual.embed(images)
        prompts = self.prompts.prompts.expand(x.shape[0], -1, -1)
        return self.clip.visual.run(torch.cat([x[:, :1], prompts, x[:, 1:]], dim=1))

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits float[B, K]: products of features and classifier."""
        return self.encode(images) @ self.classes.T

    def has_class_data(self) -> bool:
        """Returns True: there is a row for each class."""
        return True


load = NoLA.load

"""Tip-Adapter and Tip-Adapter-F: a cache of the shots' features (Zhang et al., ECCV 2022)."""

import torch
from torch import Tensor

from prompt_jax.export.torch_parts.zero_shot import ZeroShot


class TipAdapter(ZeroShot):
    """Zero-shot CLIP plus the votes of similar training images."""

    values: Tensor

    def prepare(self) -> None:
        """Computes class features, and one-hot labels of the keys, float[n, K].

        New classes have no key.
        """
        super().prepare()
        self.keep("values", (self.prompts.labels[:, None] == self.trained).float())

    def has_class_data(self) -> bool:
        return True

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits float[B, K]: zero-shot + alpha exp(-beta (1 - x·keys)) · values."""
        features = self.encode(images)
        affinity = features @ self.prompts.keys.T
        votes = torch.exp(-self.prompts.beta * (1 - affinity)) @ self.values
        return self.logits(features, self.classes) + self.prompts.alpha * votes


load = TipAdapter.load

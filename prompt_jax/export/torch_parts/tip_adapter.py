"""Tip-Adapter and Tip-Adapter-F: the shots' features as a cache that votes (Zhang, ECCV 2022)."""

import torch
from torch import Tensor

from prompt_jax.export.torch_parts.zero_shot import ZeroShot


class TipAdapter(ZeroShot):
    """Zero-shot CLIP, and the votes of training images that look alike."""

    values: Tensor

    def prepare(self) -> None:
        """The classes' texts, and the class of each key, float[n, K]; new classes have no key."""
        super().prepare()
        self.keep("values", (self.prompts.labels[:, None] == self.trained).float())

    def keeps_own(self) -> bool:
        """Its shots."""
        return True

    def forward(self, images: Tensor) -> Tensor:
        """Zero-shot logits + alpha exp(-beta (1 - x·keys)) · values."""
        features = self.encode(images)
        affinity = features @ self.prompts.keys.T
        votes = torch.exp(-self.prompts.beta * (1 - affinity)) @ self.values
        return self.logits(features, self.classes) + self.prompts.alpha * votes


load = TipAdapter.load

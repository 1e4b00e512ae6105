"""CapS-Adapter without divergences: a cache of shots and their captions (Wang et al., 2024)."""

import torch
from torch import Tensor

from prompt_jax.export.torch_parts.class_arrays import ClassArrays


class CapSAdapter(ClassArrays):
    """A text classifier plus the votes of training images, by their features and captions."""

    values: Tensor

    def prepare(self) -> None:
        """Chooses the features of the classes, and computes one-hot labels of the keys."""
        self.keep("classes", self.of_classes(self.prompts.classifier))
        self.keep("values", (self.prompts.labels[:, None] == self.trained).float())

    def has_class_data(self) -> bool:
        return True

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits float[B, K]: text + alpha exp(-beta (1 - affinity)) · values."""
        features, delta = self.encode(images), self.prompts.delta
        affinity = features @ ((1 - delta) * self.prompts.keys + delta * self.prompts.captions).T
        votes = torch.exp(-self.prompts.beta * (1 - affinity)) @ self.values
        return self.logits(features, self.classes) + self.prompts.alpha * votes


load = CapSAdapter.load

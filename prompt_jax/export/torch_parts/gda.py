"""GDA: Gaussian discriminant analysis on frozen features, added to zero-shot CLIP
(Wang et al., "A Hard-to-Beat Baseline for Training-free CLIP-based Adaptation", ICLR 2024).
"""

import math

import torch
from torch import Tensor

from prompt_jax.export.torch_parts.zero_shot import ZeroShot


class GDA(ZeroShot):
    """Zero-shot CLIP plus a linear discriminant fitted to the features of the shots."""

    weights: Tensor
    bias: Tensor

    def prepare(self) -> None:
        """Computes W = Σ⁻¹μ float[d, K] and b = log(1/K) - ½ μᵀΣ⁻¹μ float[K].

        Classes with shots share one Σ⁻¹, classes without shots another one.
        """
        super().prepare()
        labels = self.prompts.labels
        features = self.prompts.features.double()
        own = (labels[:, None] == self.trained).double()  # [n, K]
        unseen = own.sum(dim=0) == 0
        means = (own.T @ features) / own.sum(dim=0).clamp(min=1)[:, None]
        weights = means @ self._pooled_precision(features, labels)
        if unseen.any():
            borrowed = [self._borrow(features, text.double()) for text in self.classes[unseen]]
            means[unseen] = torch.stack([mean for mean, _ in borrowed])
            precision = torch.stack([precision for _, precision in borrowed]).mean(dim=0)
            weights[unseen] = means[unseen] @ precision
        self.keep("weights", weights.T.float())
        bias = -math.log(len(means)) - (weights * means).sum(dim=-1) / 2
        self.keep("bias", bias.float())

    def has_class_data(self) -> bool:
        return True

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits float[B, K]: zero-shot + alpha (x·W + b)."""
        features = self.encode(images)
        discriminant = features @ self.weights + self.bias
        return self.logits(features, self.classes) + self.prompts.alpha * discriminant

    def _pooled_precision(self, features: Tensor, labels: Tensor) -> Tensor:
        """Returns Σ⁻¹ of all samples, each centered at its class mean."""
        centered = features.clone()
        for label in labels.unique():
            group = labels == label
            centered[group] -= features[group].mean(dim=0)
        return _shrunk_precision(centered)

    def _borrow(self, features: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """Returns mean and Σ⁻¹ of a class without shots, from the samples nearest to its text."""
        number = min(self.settings["neighbours"], len(features))
        copies = self.settings["text_copies"]
        nearest = features[(features @ text).topk(number).indices]
        mean = (nearest.sum(dim=0) + copies * text) / (number + copies)
        return mean, _shrunk_precision(nearest - text)


def _shrunk_precision(centered: Tensor) -> Tensor:
    """Returns d · pinv((n - 1) Σ + tr(Σ) I) of centered samples float[n, d]; 0 if all are equal."""
    number, width = centered.shape
    scatter = centered.T @ centered
    shrinkage = scatter.trace() / max(number - 1, 1)
    if shrinkage <= 0:
        return torch.zeros_like(scatter)
    eye = torch.eye(width, dtype=centered.dtype, device=centered.device)
    return width * torch.linalg.inv(scatter + shrinkage * eye)


load = GDA.load

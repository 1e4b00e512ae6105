"""GDA: Gaussian discriminant analysis on frozen features beside zero-shot CLIP, nothing trained
(Wang et al., "A Hard-to-Beat Baseline for Training-free CLIP-based Adaptation", ICLR 2024).
"""

import math

import torch
from torch import Tensor

from prompt_jax.export.torch_parts.zero_shot import ZeroShot


class GDA(ZeroShot):
    """Zero-shot CLIP, and a linear discriminant of the shots' features."""

    weights: Tensor
    bias: Tensor

    def prepare(self) -> None:
        """W = Σ⁻¹μ float[d, K], b = log(1/K) - ½ μᵀΣ⁻¹μ float[K].

        Classes with shots share one Σ⁻¹, those without another one.
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

    def keeps_own(self) -> bool:
        """Its shots."""
        return True

    def forward(self, images: Tensor) -> Tensor:
        """Zero-shot logits + alpha (x·W + b)."""
        features = self.encode(images)
        discriminant = features @ self.weights + self.bias
        return self.logits(features, self.classes) + self.prompts.alpha * discriminant

    def _pooled_precision(self, features: Tensor, labels: Tensor) -> Tensor:
        """The Σ⁻¹ of all samples around their classes' means."""
        centred = features.clone()
        for label in labels.unique():
            group = labels == label
            centred[group] -= features[group].mean(dim=0)
        return _shrunk_precision(centred)

    def _borrow(self, features: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and Σ⁻¹ of a class without shots: of the samples nearest to its text."""
        number = min(self.settings["neighbours"], len(features))
        copies = self.settings["text_copies"]
        nearest = features[(features @ text).topk(number).indices]
        mean = (nearest.sum(dim=0) + copies * text) / (number + copies)
        return mean, _shrunk_precision(nearest - text)


def _shrunk_precision(centred: Tensor) -> Tensor:
    """d · pinv((n - 1) Σ + tr(Σ) I) of centred samples float[n, d]; 0 where all are equal."""
    number, width = centred.shape
    scatter = centred.T @ centred
    shrinkage = scatter.trace() / max(number - 1, 1)
    if shrinkage <= 0:
        return torch.zeros_like(scatter)
    eye = torch.eye(width, dtype=centred.dtype, device=centred.device)
    return width * torch.linalg.inv(scatter + shrinkage * eye)


load = GDA.load

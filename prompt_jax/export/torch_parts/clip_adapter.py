"""CLIP-Adapter: a bottleneck behind the frozen image tower (Gao et al., IJCV 2024)."""

import torch
from torch import Tensor

from prompt_jax.export.torch_parts.clip import normalize
from prompt_jax.export.torch_parts.zero_shot import ZeroShot


class CLIPAdapter(ZeroShot):
    """Zero-shot CLIP on image features that a small network has changed."""

    def encode(self, images: Tensor) -> Tensor:
        """Mixes the adapter's output into the feature, before either is normalised."""
        features, ratio = self.clip.encode_image(images), self.settings["ratio"]
        adapted = torch.relu(torch.relu(features @ self.prompts.linear1) @ self.prompts.linear2)
        return normalize(ratio * adapted + (1 - ratio) * features)


load = CLIPAdapter.load

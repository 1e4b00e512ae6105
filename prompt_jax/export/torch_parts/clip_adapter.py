"""CLIP-Adapter: a bottleneck MLP on frozen image features (Gao et al., IJCV 2024)."""

import torch
from torch import Tensor

from prompt_jax.export.torch_parts.clip import normalize
from prompt_jax.export.torch_parts.zero_shot import ZeroShot


class CLIPAdapter(ZeroShot):
    """Zero-shot CLIP with an adapter on its image features."""

    def encode(self, images: Tensor) -> Tensor:
        """Returns image features float[B, d], mixed with the adapter's output, then normalized."""
        features, ratio = self.clip.encode_image(images), self.settings["ratio"]
        adapted = torch.relu(torch.relu(features @ self.prompts.linear1) @ self.prompts.linear2)
        return normalize(ratio * adapted + (1 - ratio) * features)


load = CLIPAdapter.load

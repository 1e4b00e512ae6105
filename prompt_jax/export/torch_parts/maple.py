"""MaPLe: text prompts, projected to vision prompts by linear maps (Khattak, CVPR 2023)."""

import torch
from torch import Tensor

from prompt_jax.export.torch_parts.clip import normalize
from prompt_jax.export.torch_parts.deep_text import DeepText


class MaPLe(DeepText):
    """A MaPLe classifier: each text prompt is projected to a vision prompt."""

    vision: Tensor

    def prepare(self) -> None:
        """Computes class features float[K, d] and vision prompts float[J, M, d_v]."""
        context, deep = self.prompts.context, self.prompts.deep_context
        self.keep("classes", self.encode_names(context, deep))
        text, projection = torch.cat([context[None], deep]), self.prompts.projection
        self.keep("vision", text @ projection.kernel + projection.bias[:, None])

    def encode(self, images: Tensor) -> Tensor:
        """Returns image features float[B, d], encoded with the vision prompts."""
        return normalize(self.clip.encode_image(images, self.vision))


load = MaPLe.load

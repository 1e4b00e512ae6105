"""MaPLe: text prompts, and vision prompts made from them by linear maps (Khattak, CVPR 2023)."""

import torch
from torch import Tensor

from prompt_jax.export.torch_parts.clip import normalize
from prompt_jax.export.torch_parts.deep_text import DeepText


class MaPLe(DeepText):
    """Every text prompt makes a vision prompt."""

    vision: Tensor

    def prepare(self) -> None:
        """The classes' text features float[K, d], and the vision prompts float[J, M, d_v]."""
        context, deep = self.prompts.context, self.prompts.deep_context
        self.keep("classes", self.encode_names(context, deep))
        text, projection = torch.cat([context[None], deep]), self.prompts.projection
        self.keep("vision", text @ projection.kernel + projection.bias[:, None])

    def encode(self, images: Tensor) -> Tensor:
        """Image features float[B, d], seen through the vision prompts."""
        return normalize(self.clip.encode_image(images, self.vision))


load = MaPLe.load

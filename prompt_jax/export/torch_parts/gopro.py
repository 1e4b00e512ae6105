"""GOPro: a context shifted by the statistics of all layers (Singha et al., BMVC 2023)."""

from typing import Any

import torch
from torch import Tensor

from prompt_jax.export.torch_parts.clip import normalize
from prompt_jax.export.torch_parts.cocoop import CoCoOp

# Added to sums of squares.
EPSILON = 2.3e-8


class GOPro(CoCoOp):
    """A GOPro classifier: encodes every class again for every image."""

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits float[B, K]; the classes are encoded after each image's context."""
        x, means, deviations = self.clip.visual.embed(images), [], []
        for block in self.clip.visual.transformer.resblocks:
            x = block(x)
            mean = x.mean(dim=1, keepdim=True)
            squares = (x - mean).square().sum(dim=1)
            means.append(mean[:, 0])
            deviations.append(((squares + EPSILON) / x.shape[1]).sqrt())
        shift = self.find_shift(torch.stack(means, dim=1), torch.stack(deviations, dim=1))
        return self.classify(normalize(self.clip.visual.head(x)), shift)

    def find_shift(self, means: Tensor, deviations: Tensor) -> Tensor:
        """Returns float[B, d_l] of statistics float[B, L, d_v] of the tokens after each layer."""
        style = map_layers(self.prompts.style, (means + deviations) / 2)
        content = map_layers(self.prompts.content, means)
        mix = self.prompts.mix
        return (((style + content) / 2).mT @ mix.kernel + mix.bias)[..., 0]


def map_layers(linear: Any, x: Tensor) -> Tensor:
    """Maps float[B, L, d_v] to float[B, L, d_l], with a linear layer for each of the L layers."""
    return torch.einsum("blv,lvt->blt", x, linear.kernel) + linear.bias


load = GOPro.load

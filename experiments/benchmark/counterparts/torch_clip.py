"""CLIP in PyTorch for the conventional methods, and their shared base class.

The towers are those of exported models: OpenAI's blocks with fused attention. JAX is not imported,
so that it does not count towards the memory of the counterpart's process.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from experiments.benchmark.handover import Handover
from prompt_jax.export.torch_parts.clip import CLIP, normalize


class TorchCLIP(CLIP):
    """Both frozen towers; every text takes all 77 slots."""

    def __init__(self, sizes: Mapping[str, Any], state: Mapping[str, Any]):
        """Copies the weights.

        Args:
            sizes: fields of a `CLIPConfig`.
            state: float32 arrays by OpenAI's names.
        """
        super().__init__(sizes, {name: torch.as_tensor(array) for name, array in state.items()})

    def read_text(self, x: Tensor, eot: Tensor) -> Tensor:
        """Returns text features float[K, d] of float[K, S, d_l], normalizing every slot."""
        return self.ln_final(x)[torch.arange(len(x), device=x.device), eot] @ self.text_projection


class Learner(nn.Module):
    """A CLIP with trainable prompts, by this library's names, and token ids of its texts."""

    tokens: Tensor

    def __init__(self, clip: TorchCLIP, handover: Handover):
        super().__init__()
        self.clip, self.settings = clip, handover.settings
        self.prompts = nn.ParameterDict(
            {name: torch.tensor(array) for name, array in handover.prompts.items()}
        )
        self.register_buffer("tokens", torch.tensor(handover.tokens).long())

    @property
    def scale(self) -> Tensor:
        """Returns the logit scale, 1/τ."""
        return self.clip.logit_scale.exp()

    def encode_plain(self, tokens: Any) -> Tensor:
        """Returns normalized text features float[K, d] of token ids int[K, 77], without prompts."""
        ids = torch.tensor(tokens).long()
        with torch.no_grad():
            return normalize(self.clip.encode_text(ids))

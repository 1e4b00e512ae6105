"""CLIP in PyTorch for the conventional methods, and what these have in common.

The towers are those of exported models, whose blocks are OpenAI's with fused attention. JAX is not
imported here: a process of the counterpart must not pay for it.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from experiments.benchmark.handover import Handover
from prompt_jax.export.torch_parts.clip import CLIP, normalize


class TorchCLIP(CLIP):
    """Both towers, frozen; texts take all 77 slots up to the head."""

    def __init__(self, sizes: Mapping[str, Any], state: Mapping[str, Any]):
        """Copies the weights.

        Args:
            sizes: the fields of a `CLIPConfig`.
            state: float32 arrays by OpenAI's names.
        """
        super().__init__(sizes, {name: torch.as_tensor(array) for name, array in state.items()})

    def read_text(self, x: Tensor, eot: Tensor) -> Tensor:
        """Returns text features float[K, d] of float[K, S, d_l], normalizing every slot."""
        return self.ln_final(x)[torch.arange(len(x), device=x.device), eot] @ self.text_projection


class Learner(nn.Module):
    """A CLIP, trainable prompts by our names, and the token ids of classes or captions."""

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
        """1/τ."""
        return self.clip.logit_scale.exp()

    def encode_plain(self, tokens: Any) -> Tensor:
        """Returns normalized text features float[K, d] of token ids int[K, 77], without prompts."""
        ids = torch.tensor(tokens).long()
        with torch.no_grad():
            return normalize(self.clip.encode_text(ids))

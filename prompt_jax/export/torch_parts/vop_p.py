"""VoP^P: prompts of a frame's position beside those of all frames (VoP, section 3.3)."""

import torch
from torch import Tensor

from prompt_jax.export.torch_parts.vop import VoP


class VoPP(VoP):
    """The j-th frame of every video sees prompts of its own."""

    def see(self, layer: int, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """See `VoP`; prompts float[F, a, d_v]."""
        x, shared = super().see(layer, x)
        own = self.prompts_of("position_prompts", layer)
        if own is None:
            return x, shared
        if x.shape[1] != len(own):
            raise ValueError(f"videos of {x.shape[1]} frames; there are prompts for {len(own)}")
        return x, put_behind(shared, own)


def put_behind(shared: Tensor | None, own: Tensor) -> Tensor:
    """Prompts float[s, d_v] that are shared, if any, and behind them float[..., p, d_v]."""
    if shared is None:
        return own
    return torch.cat([shared.expand(*own.shape[:-2], -1, -1), own], dim=-2)


load = VoPP.load

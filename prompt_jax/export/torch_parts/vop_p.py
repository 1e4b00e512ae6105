"""VoP^P: additional prompts for each frame position (VoP, section 3.3)."""

import torch
from torch import Tensor

from prompt_jax.export.torch_parts.vop import VoP


class VoPP(VoP):
    """A VoP with additional prompts for each frame position."""

    def inputs_of(self, layer: int, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Returns tokens and prompts of a layer; the prompts are float[F, a, d_v].

        Raises:
            ValueError: the videos have another number of frames than those of the training.
        """
        x, shared = super().inputs_of(layer, x)
        own = self.prompts_of("position_prompts", layer)
        if own is None:
            return x, shared
        if x.shape[1] != len(own):
            raise ValueError(f"the videos have {x.shape[1]} frames; the model expects {len(own)}")
        return x, append_prompts(shared, own)


def append_prompts(shared: Tensor | None, own: Tensor) -> Tensor:
    """Appends prompts float[..., p, d_v] to shared ones float[s, d_v], if any."""
    if shared is None:
        return own
    return torch.cat([shared.expand(*own.shape[:-2], -1, -1), own], dim=-2)


load = VoPP.load

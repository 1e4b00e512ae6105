"""VoP^C: prompts made from what the frames of a video show so far (VoP, section 3.3)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from prompt_jax.export.torch_parts.block_names import as_openai, take
from prompt_jax.export.torch_parts.clip import CLIP, Block
from prompt_jax.export.torch_parts.vop import VoP
from prompt_jax.export.torch_parts.vop_p import put_behind


class VoPC(VoP):
    """A context module goes through the class tokens of a video's frames before each layer."""

    context: nn.Module | None

    def __init__(self, clip: CLIP, arrays: Mapping[str, Tensor], config: Mapping[str, Any]):
        """See `Classifier`."""
        lstm, others = take(arrays, "lstm")
        blocks, others = take(others, "transformer")
        super().__init__(clip, others, config)
        sizes, width = config["sizes"], config["sizes"]["image_width"]
        self.context = None
        if lstm:
            both = "weight_ih_l0_reverse" in lstm
            self.context = nn.LSTM(width, width, batch_first=True, bidirectional=both)
            self.context.load_state_dict(lstm)
        elif blocks:
            like = sizes["image_heads"], sizes["image_mlp"], sizes["activation"]
            state = as_openai(blocks)
            number = len({name.split(".")[0] for name in state})
            self.context = nn.Sequential(*(Block(width, *like, False) for _ in range(number)))
            self.context.load_state_dict(state)
        self.requires_grad_(False).eval()

    def see(self, layer: int, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """See `VoP`: what the module makes becomes prompts float[B, F, a, d_v], or the frames'
        class tokens.
        """
        x, shared = super().see(layer, x)
        if layer >= self.settings["depth"]:
            return x, shared
        tower = self.clip.visual
        seen = x[:, :, 0]
        if layer == 0:  # before `ln_pre`
            seen = (tower.class_embedding + tower.positional_embedding[0]).expand_as(seen)
        made = self.make(seen)
        if self.settings["context_role"] == "prompts":
            return x, put_behind(shared, made)
        made = tower.ln_pre(made) if layer == 0 else made
        return torch.cat([made, x[:, :, 1:]], dim=2), shared

    def make(self, seen: Tensor) -> Tensor:
        """Tokens float[B, F, p, d_v] of class tokens float[B, F, d_v], p of each frame."""
        assert self.context is not None
        output = self.context(seen)
        output = output[0] if isinstance(output, tuple) else output
        made = output @ self.prompts.fc.weight.T + self.prompts.fc.bias
        return made.unflatten(-1, (-1, seen.shape[-1]))


load = VoPC.load

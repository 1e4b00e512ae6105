"""VoP^C: prompts made from the class tokens of a video's frames (VoP, section 3.3)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from prompt_jax.export.torch_parts.block_names import as_openai, take
from prompt_jax.export.torch_parts.clip import CLIP, Block
from prompt_jax.export.torch_parts.vop import VoP
from prompt_jax.export.torch_parts.vop_p import append_prompts


class VoPC(VoP):
    """A VoP whose context module runs over the class tokens of all frames before each layer."""

    context: nn.Module | None

    def __init__(self, clip: CLIP, arrays: Mapping[str, Tensor], config: Mapping[str, Any]):
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

    def inputs_of(self, layer: int, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Adds the context module's outputs as prompts, or replaces the class tokens by them."""
        x, shared = super().inputs_of(layer, x)
        if layer >= self.settings["depth"]:
            return x, shared
        tower = self.clip.visual
        class_tokens = x[:, :, 0]
        if layer == 0:  # before `ln_pre`
            first = tower.class_embedding + tower.positional_embedding[0]
            class_tokens = first.expand_as(class_tokens)
        made = self.make(class_tokens)
        if self.settings["context_role"] == "prompts":
            return x, append_prompts(shared, made)
        made = tower.ln_pre(made) if layer == 0 else made
        return torch.cat([made, x[:, :, 1:]], dim=2), shared

    def make(self, class_tokens: Tensor) -> Tensor:
        """Returns tokens float[B, F, p, d_v] from class tokens float[B, F, d_v]."""
        assert self.context is not None
        output = self.context(class_tokens)
        output = output[0] if isinstance(output, tuple) else output
        made = output @ self.prompts.fc.weight.T + self.prompts.fc.bias
        return made.unflatten(-1, (-1, class_tokens.shape[-1]))


load = VoPC.load

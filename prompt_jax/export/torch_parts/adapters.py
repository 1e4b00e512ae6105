"""Adapters parallel to every attention or MLP (AdaptFormer, NeurIPS 2022; VoP, Table 1)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from prompt_jax.export.torch_parts.classifier import Prompts
from prompt_jax.export.torch_parts.clip import CLIP
from prompt_jax.export.torch_parts.encoders import Encoders


class AdaptedBlock(nn.Module):
    """A transformer block with an adapter parallel to its attention or its MLP."""

    def __init__(self, block: Any, arrays: Mapping[str, Tensor], settings: Mapping[str, Any]):
        """Takes adapter arrays "down" and "up", each with "kernel" float[in, out] and "bias"."""
        super().__init__()
        self.block, self.settings = block, settings
        self.adapter: Any = Prompts(arrays)

    def forward(self, x: Tensor) -> Tensor:
        """Maps tokens float[N, S, d] to float[N, S, d]."""
        block = self.block
        for name, norm, layer in (
            ("adapter_attn", block.ln_1, block.attn),
            ("adapter_ffn", block.ln_2, block.mlp),
        ):
            normed = norm(x)
            output = layer(normed)
            if self.settings["beside"] == name:
                reads_normed = self.settings["adapter_input"] == "normed"
                output = output + self.adapt(normed if reads_normed else x)
            x = x + output
        return x

    def adapt(self, x: Tensor) -> Tensor:
        """Returns the adapter's output, float[N, S, d]."""
        down, up = self.adapter.down, self.adapter.up
        hidden = torch.relu(x @ down.kernel + down.bias)
        return self.settings["adapter_scale"] * (hidden @ up.kernel + up.bias)


class Adapted(Encoders):
    """A CLIP with adapters in all blocks of both towers."""

    def __init__(self, clip: CLIP, arrays: Mapping[str, Tensor], config: Mapping[str, Any]):
        """Takes the arguments of `Classifier`; the first axis of each array is the layer."""
        settings = {"beside": config["method"], **config["settings"]}
        for tower, transformer in (
            ("image.", clip.visual.transformer),
            ("text.", clip.transformer),
        ):
            own = {n.removeprefix(tower): a for n, a in arrays.items() if n.startswith(tower)}
            for layer, block in enumerate(transformer.resblocks):
                each = {name: array[layer] for name, array in own.items()}
                transformer.resblocks[layer] = AdaptedBlock(block, each, settings)
        super().__init__(clip, {}, config)


load = Adapted.load

"""EZ-CLIP: temporal prompts made from all frames, and adapters in both towers (TMLR 2025)."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prompt_jax.export.torch_parts.classifier import Prompts
from prompt_jax.export.torch_parts.clip import CLIP
from prompt_jax.export.torch_parts.encoders import Encoders
from prompt_jax.export.torch_parts.own_texts import OwnTexts


class BlockWithAdapter(nn.Module):
    """A transformer block with an adapter between attention and MLP."""

    def __init__(self, block: Any, arrays: Mapping[str, Tensor]):
        """Takes adapter arrays "down" and "up", each with "kernel" float[in, out] and "bias"."""
        super().__init__()
        self.block = block
        self.adapter: Any = Prompts(arrays)

    def forward(self, x: Tensor) -> Tensor:
        """Maps tokens float[N, S, d] to float[N, S, d]."""
        block, down, up = self.block, self.adapter.down, self.adapter.up
        x = x + block.attn(block.ln_1(x))
        x = x + F.gelu(x @ down.kernel + down.bias) @ up.kernel + up.bias
        return x + block.mlp(block.ln_2(x))

    def self_attention(self, x: Tensor) -> Tensor:
        """Returns what attention adds to tokens float[N, S, d]."""
        return self.block.attn(self.block.ln_1(x))


class EZCLIP(OwnTexts, Encoders):
    """A CLIP with temporal prompts and adapters."""

    def __init__(self, clip: CLIP, arrays: Mapping[str, Tensor], config: Mapping[str, Any]):
        """Takes the arguments of `Classifier`; the first axis of each array is the layer."""
        for tower, transformer in (
            ("image.", clip.visual.transformer),
            ("text.", clip.transformer),
        ):
            own = {n.removeprefix(tower): a for n, a in arrays.items() if n.startswith(tower)}
            for layer, block in enumerate(transformer.resblocks):
                each = {name: array[layer] for name, array in own.items()}
                transformer.resblocks[layer] = BlockWithAdapter(block, each)
        super().__init__(clip, {"temporal_prompts": arrays["temporal_prompts"]}, config)

    def prepare(self) -> None:
        """Computes the class features float[K, d]."""
        self.keep("classes", self.average_texts(self.encode_ids))

    def encode_videos(self, videos: Tensor) -> Tensor:
        """Returns features float[B, d] of videos float[B, F, 3, S, S], averaged over frames.

        Raises:
            ValueError: the videos have another number of frames than those of the training.
        """
        tower, table, frames = self.clip.visual, self.prompts.temporal_prompts, videos.shape[1]
        if frames != table.shape[1]:
            raise ValueError(f"the videos have {frames} frames; the model expects {table.shape[1]}")
        x = tower.embed(videos.flatten(0, 1)).unflatten(0, videos.shape[:2])
        for layer, prompts in enumerate(table):
            block: Any = tower.transformer.resblocks[layer]
            mixed = block.self_attention(x.mean(dim=-2) + prompts)
            x = torch.cat([x, mixed[:, :, None]], dim=-2)
            x = block(x.flatten(0, 1)).unflatten(0, videos.shape[:2])[:, :, :-1]
        return self.pool(tower.head(x.flatten(0, 1)).unflatten(0, videos.shape[:2]))


load = EZCLIP.load

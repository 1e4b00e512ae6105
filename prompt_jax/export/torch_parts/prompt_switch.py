"""Prompt Switch: prompts change places between frames (Deng et al., ICCV 2023)."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from prompt_jax.export.torch_parts.block_names import as_openai
from prompt_jax.export.torch_parts.clip import CLIP, Block
from prompt_jax.export.torch_parts.encoders import Encoders

_BACKBONE = ("image.", "text.", "logit_scale")
_TRAINED_ONLY = "captioner."


class PromptSwitch(Encoders):
    """A fine-tuned CLIP whose frames exchange prompts before every attention."""

    def __init__(self, clip: CLIP, arrays: Mapping[str, Tensor], config: Mapping[str, Any]):
        """Takes the arguments of `Classifier`; loads the fine-tuned CLIP into the backbone."""
        tuned = {name: array for name, array in arrays.items() if name.startswith(_BACKBONE)}
        clip.load_state_dict(as_openai(tuned))
        # The captioner is for training only.
        left = (*_BACKBONE, _TRAINED_ONLY)
        own = {name: array for name, array in arrays.items() if not name.startswith(left)}
        super().__init__(clip, own, config)

    def encode_videos(self, videos: Tensor) -> Tensor:
        """Returns features float[B, d] of videos float[B, F, 3, S, S].

        Raises:
            ValueError: the number of frames is not a multiple of the prompts per frame.
        """
        batch, frames = videos.shape[:2]
        cube, tower = self.prompts.prompt_cube, self.clip.visual
        number = len(cube)
        if frames % number:
            raise ValueError(
                f"videos have {frames} frames; the model expects a multiple of {number}"
            )
        x = tower.embed(videos.flatten(0, 1))
        slots = cube.repeat(batch * frames // number, 1, 1)
        x = torch.cat([x[:, :1], slots, x[:, 1:]], dim=1)
        for block in tower.transformer.resblocks:
            assert isinstance(block, Block)
            x = x + block.attn(self.switch(block.ln_1(x), number))
            x = x + block.mlp(block.ln_2(x))
        together = frames if self.settings["chunk_attention"] == "clip" else number
        first = x[:, 0].reshape(-1, together, x.shape[-1])
        seen = x[:, 1 : 1 + number].reshape(len(first), -1, x.shape[-1])
        first = first + self.look(first, seen)
        features = tower.head(first.reshape(batch * frames, 1, -1))
        return self.pool(features.unflatten(0, (batch, frames)))

    def switch(self, x: Tensor, number: int) -> Tensor:
        """Lets prompt j of frame i and prompt i of frame j change places, in chunks of n frames.

        Args:
            x: float[B F, S, d_v]: class token, n prompts, patches.
            number: n.
        """
        slots = x[:, 1 : 1 + number].unflatten(0, (-1, number)).transpose(1, 2).flatten(0, 1)
        return torch.cat([x[:, :1], slots, x[:, 1 + number :]], dim=1)

    def look(self, x: Tensor, seen: Tensor) -> Tensor:
        """Returns what class tokens float[N, F, d_v] take from prompts float[N, P, d_v]."""
        layers, heads = self.prompts.attention, self.config["sizes"]["image_heads"]

        def apply(layer: Any, tokens: Tensor) -> Tensor:
            return tokens @ layer.kernel + layer.bias

        keys = apply(layers.key_value, seen).chunk(2, dim=-1)
        query, key, value = (
            each.unflatten(-1, (heads, -1)).transpose(1, 2)
            for each in (apply(layers.query, x), *keys)
        )
        attended = F.scaled_dot_product_attention(query, key, value)
        return apply(layers.out, attended.transpose(1, 2).flatten(2))


load = PromptSwitch.load

"""A5: vectors around the class name, and blocks over frame features (Ju et al., ECCV 2022)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from prompt_jax.export.torch_parts.block_names import as_openai, take
from prompt_jax.export.torch_parts.clip import CLIP, Block, normalize
from prompt_jax.export.torch_parts.encoders import Encoders


class A5(Encoders):
    """The backbone stays as it is."""

    def __init__(self, clip: CLIP, arrays: Mapping[str, Tensor], config: Mapping[str, Any]):
        """See `Classifier`."""
        blocks, others = take(arrays, "temporal")
        super().__init__(clip, others, config)
        width, heads = config["sizes"]["embed_dim"], self.settings["temporal_heads"]
        number = self.settings["temporal_blocks"]
        if number > len(blocks):  # each has arrays
            raise ValueError(f"{number} temporal blocks, and {len(blocks)} arrays of such")
        self.temporal = nn.Sequential(
            *(Block(width, heads, 4 * width, "quick_gelu", causal=False) for _ in range(number))
        )
        self.temporal.load_state_dict(as_openai(blocks))
        self.requires_grad_(False).eval()

    def text_slots(self) -> int:
        """How many slots of the text tower vectors take."""
        return self.settings["prefix_prompts"] + self.settings["postfix_prompts"]

    def pool(self, features: Tensor) -> Tensor:
        """See `Encoders`, of frames float[B, F, d] that have seen each other, each at its place."""
        if len(self.temporal):
            table = self.prompts.temporal_embedding
            if features.shape[1] != len(table):
                raise ValueError(
                    f"videos of {features.shape[1]} frames; the table has {len(table)}"
                )
            features = self.temporal(features + table)
        return super().pool(features)

    def encode_ids(self, ids: Tensor) -> Tensor:
        """Features float[N, d], normalised, of [SOS][p vectors][words][q vectors][EOT]."""
        words, eot = self.clip.token_embedding(ids), ids.argmax(dim=-1)
        rows = []
        for row, end in zip(words, eot.tolist(), strict=True):
            prefix, postfix = self.vectors(end - 1)
            rows.append(torch.cat([row[:1], prefix, row[1:end], postfix, row[end:]]))
        x = torch.stack(rows)
        return normalize(self.clip.encode_embedded(x, eot + self.text_slots()))

    def vectors(self, words: int) -> tuple[Tensor, Tensor]:
        """Those in front of a text of so many tokens, float[p, d_l], and behind it, [q, d_l]."""
        p, q = self.settings["prefix_prompts"], self.settings["postfix_prompts"]
        if self.settings["postfix"] == "shared":
            return self.prompts.prefix, self.prompts.postfix
        table = self.prompts.embedding  # a row for each slot of the text tower
        return table[1 : 1 + p], table[1 + p + words :][:q]


load = A5.load

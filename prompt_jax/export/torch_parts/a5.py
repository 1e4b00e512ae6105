"""A5: context vectors around the class name and a temporal transformer (Ju et al., ECCV 2022)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from prompt_jax.export.torch_parts.block_names import as_openai, take
from prompt_jax.export.torch_parts.clip import CLIP, Block, normalize
from prompt_jax.export.torch_parts.encoders import Encoders


class A5(Encoders):
    """A frozen CLIP with text context and a transformer over frame features."""

    def __init__(self, clip: CLIP, arrays: Mapping[str, Tensor], config: Mapping[str, Any]):
        """Takes the arguments of `Classifier`.

        Raises:
            ValueError: there are arrays for fewer temporal blocks than the settings ask for.
        """
        blocks, others = take(arrays, "temporal")
        super().__init__(clip, others, config)
        width, heads = config["sizes"]["embed_dim"], self.settings["temporal_heads"]
        number = self.settings["temporal_blocks"]
        if number > len(blocks):  # each block has several arrays
            raise ValueError(f"temporal_blocks={number}, but only {len(blocks)} arrays for blocks")
        self.temporal = nn.Sequential(
            *(Block(width, heads, 4 * width, "quick_gelu", causal=False) for _ in range(number))
        )
        self.temporal.load_state_dict(as_openai(blocks))
        self.requires_grad_(False).eval()

    def text_slots(self) -> int:
        """Returns the number of context vectors, each of which takes a text position."""
        return self.settings["prefix_prompts"] + self.settings["postfix_prompts"]

    def pool(self, features: Tensor) -> Tensor:
        """Pools frame features float[B, F, d] after the temporal transformer, if there is one."""
        if len(self.temporal):
            table = self.prompts.temporal_embedding
            if features.shape[1] != len(table):
                raise ValueError(
                    f"the videos have {features.shape[1]} frames; the model expects {len(table)}"
                )
            features = self.temporal(features + table)
        return super().pool(features)

    def encode_ids(self, ids: Tensor) -> Tensor:
        """Returns features float[N, d], L2-normalized, of [SOS][prefix][words][postfix][EOT]."""
        words, eot = self.clip.token_embedding(ids), ids.argmax(dim=-1)
        rows = []
        for row, end in zip(words, eot.tolist(), strict=True):
            prefix, postfix = self.vectors(end - 1)
            rows.append(torch.cat([row[:1], prefix, row[1:end], postfix, row[end:]]))
        x = torch.stack(rows)
        return normalize(self.clip.encode_embedded(x, eot + self.text_slots()))

    def vectors(self, words: int) -> tuple[Tensor, Tensor]:
        """Returns the vectors before, float[p, d_l], and after, float[q, d_l], a text.

        Args:
            words: number of tokens of the text.
        """
        p, q = self.settings["prefix_prompts"], self.settings["postfix_prompts"]
        if self.settings["postfix"] == "shared":
            return self.prompts.prefix, self.prompts.postfix
        table = self.prompts.embedding  # a row for each text position
        return table[1 : 1 + p], table[1 + p + words :][:q]


load = A5.load

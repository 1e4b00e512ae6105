"""Deep text prompts: in several layers of the text tower."""

from collections.abc import Iterable

import torch
from torch import Tensor

from prompt_jax.export.torch_parts.classifier import Classifier
from prompt_jax.export.torch_parts.clip import normalize


class DeepText(Classifier):
    """A classifier with prompts in the first layers of the text tower."""

    def encode_names(self, first: Tensor, deep: Iterable[Tensor]) -> Tensor:
        """Returns class features float[K, d], L2-normalized.

        Args:
            first: float[M, d_l], after SOS. They replace the first M tokens of the setting
                `context_words`; its other tokens stay between them and the name.
            deep: float[M, d_l] of each layer from 1 on.
        """
        ids = self.config["word_ids"][len(first) :]
        words = self.clip.token_embedding(torch.tensor(ids, dtype=torch.long, device=first.device))
        context = torch.cat([first, words])
        names = self.tokens("{}.", len(context))
        return normalize(self.clip.encode_text(names, context, dict(enumerate(deep, 1))))

"""Text prompts in several layers, the first in place of the words that the context starts with."""

from collections.abc import Iterable

import torch
from torch import Tensor

from prompt_jax.export.torch_parts.classifier import Classifier
from prompt_jax.export.torch_parts.clip import normalize


class DeepText(Classifier):
    """Prompts in the text tower's first layers."""

    def encode_names(self, first: Tensor, deep: Iterable[Tensor]) -> Tensor:
        """The classes' text features float[K, d], normalised.

        Args:
            first: float[M, d_l], behind SOS. They take the place of the first M tokens of the
                settings' words; the words beyond stay between them and the name.
            deep: float[M, d_l] of each layer from 1 on.
        """
        ids = self.config["word_ids"][len(first) :]
        words = self.clip.token_embedding(torch.tensor(ids, dtype=torch.long, device=first.device))
        context = torch.cat([first, words])
        names = self.tokens("{}.", len(context))
        return normalize(self.clip.encode_text(names, context, dict(enumerate(deep, 1))))

"""MoCoOp: a mixture of contexts, of which a router chooses a few per image (Du et al., 2024)."""

import torch
from torch import Tensor

from prompt_jax.export.torch_parts.classifier import Classifier
from prompt_jax.export.torch_parts.clip import normalize


class MoCoOp(Classifier):
    """A classifier with class features of several experts."""

    experts: Tensor

    def prepare(self) -> None:
        """Computes each expert's class features, float[G, K, d]."""
        arrays = dict(self.prompts.named_parameters())
        none = self.clip.positional_embedding.new_zeros(0, self.clip.positional_embedding.shape[1])
        contexts = [
            [arrays.get(f"{place}_{expert}", none) for place in ("before", "after")]
            for expert in range(len(self.settings["groups"]))
        ]
        ids = self.tokens("{}", max(len(before) + len(after) for before, after in contexts))
        words, eot = self.clip.token_embedding(ids), ids.argmax(dim=-1)
        made = []
        for before, after in contexts:
            rows = [
                torch.cat([row[:1], before, row[1:n], after, row[n:]])
                for row, n in zip(words, eot.tolist(), strict=True)
            ]
            made.append(
                self.clip.encode_embedded(torch.stack(rows), eot + len(before) + len(after))
            )
        self.keep("experts", normalize(torch.stack(made) + self.prompts.shift))

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits float[B, K], the weighted mean of those of the chosen experts."""
        features = self.encode(images)
        routes = features @ self.prompts.router.kernel + self.prompts.router.bias
        largest, chosen = routes.topk(self.settings["chosen"], dim=-1)
        weights = torch.zeros_like(routes).scatter(-1, chosen, largest.softmax(dim=-1))
        classes = torch.einsum("bg,gkd->bkd", weights, self.experts)
        return self.logits(features, classes)


load = MoCoOp.load

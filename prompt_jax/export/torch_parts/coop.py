"""CoOp: learned context vectors around the class name (Zhou et al., IJCV 2022)."""

import torch

from prompt_jax.export.torch_parts.classifier import Classifier
from prompt_jax.export.torch_parts.clip import normalize


class CoOp(Classifier):
    """A CoOp classifier with one context for all classes, or one for each."""

    def prepare(self) -> None:
        """Computes the class features float[K, d] with the context.

        Raises:
            ValueError: the context is class-specific, and a class was not trained.
        """
        context = self.prompts.context
        length = context.shape[-2]
        ids = self.tokens("{}.", length)
        if self.has_class_data():
            if (self.trained < 0).any():
                raise ValueError(
                    "the model has one context per class, and none for classes that it was not "
                    "trained on; name trained classes only"
                )
            context = context[self.trained]
        context = context.expand(len(ids), length, -1)
        words, eot = self.clip.token_embedding(ids), ids.argmax(dim=-1)
        position = self.settings["name_position"]
        before = {"end": length, "middle": length // 2, "front": 0}[position]
        # Number of tokens of the name, without the full stop, which stays last.
        named = eot - 1
        if before < length:
            named = torch.minimum(self.tokens("{}", length).argmax(dim=-1) - 1, named)
        rows = [
            torch.cat([row[:1], first[:before], row[1 : 1 + n], first[before:], row[1 + n :]])
            for row, first, n in zip(words, context, named.tolist(), strict=True)
        ]
        self.keep("classes", normalize(self.clip.encode_embedded(torch.stack(rows), eot + length)))

    def has_class_data(self) -> bool:
        """Returns whether there is a context for each class."""
        return bool(self.settings["class_specific"])


load = CoOp.load

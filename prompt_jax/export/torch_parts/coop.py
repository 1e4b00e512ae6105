"""CoOp: context vectors in place of the words around the class name (Zhou et al., IJCV 2022)."""

import torch

from prompt_jax.export.torch_parts.classifier import Classifier
from prompt_jax.export.torch_parts.clip import normalize


class CoOp(Classifier):
    """One context for all classes, or one for each."""

    def prepare(self) -> None:
        """The classes' text features float[K, d] under the context."""
        context = self.prompts.context
        length = context.shape[-2]
        ids = self.tokens("{}.", length)
        if self.keeps_own():
            if (self.trained < 0).any():
                raise ValueError(
                    "the model learned a context of its own for each class, and has none for "
                    "classes that it was not trained on"
                )
            context = context[self.trained]
        context = context.expand(len(ids), length, -1)
        words, eot = self.clip.token_embedding(ids), ids.argmax(dim=-1)
        position = self.settings["name_position"]
        before = {"end": length, "middle": length // 2, "front": 0}[position]
        # How many tokens the name has; the full stop, which stays last, is not one of them.
        named = eot - 1
        if before < length:
            named = torch.minimum(self.tokens("{}", length).argmax(dim=-1) - 1, named)
        rows = [
            torch.cat([row[:1], first[:before], row[1 : 1 + n], first[before:], row[1 + n :]])
            for row, first, n in zip(words, context, named.tolist(), strict=True)
        ]
        self.keep("classes", normalize(self.clip.encode_embedded(torch.stack(rows), eot + length)))

    def keeps_own(self) -> bool:
        """A context, if it has one for each class."""
        return bool(self.settings["class_specific"])


load = CoOp.load

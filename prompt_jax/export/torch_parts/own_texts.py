"""Classifiers whose classes are described by texts of their own instead of a template."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from prompt_jax.export.torch_parts.classifier import Classifier, encode
from prompt_jax.export.torch_parts.clip import normalize
from prompt_jax.export.torch_parts.names import UNSEEN, spaced, words
from prompt_jax.export.torch_parts.reading import EOT, SOS

NOTHING = [SOS, EOT]  # stands for no text in "tokens" of config.json


class OwnTexts(Classifier):
    """A classifier that averages the features of each class's own texts."""

    given: Mapping[str, Sequence[str]] = {}

    def set_classes(
        self,
        names: Sequence[str],
        tokenize: Any = None,
        texts: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Sets the classes to choose from; see `Classifier.set_classes`.

        Args:
            names: K class names.
            tokenize: a tokenizer, for `texts`.
            texts: the texts of classes by name. Classes of the training keep theirs if they have
                none here.

        Raises:
            ValueError: see `Classifier.set_classes`; or a class has no text.
        """
        before = self.given
        self.given = {words(spaced(name)): some for name, some in (texts or {}).items()}
        try:
            super().set_classes(names, tokenize)
        except Exception:
            self.given = before
            raise

    def average_texts(self, encode_ids: Any) -> Tensor:
        """Returns class features float[K, d] from an encoder of token ids, L2-normalized.

        Raises:
            ValueError: a class has no text, there is no tokenizer, or a text is too long.
        """
        rows = [self.rows_of(label) for label in range(len(self.names))]
        flat = [row for some in rows for row in some]
        longest = max(map(len, flat))
        if longest > self.clip.context_length:
            raise ValueError(
                f"a text takes {longest} tokens, more than the text tower's "
                f"{self.clip.context_length}; shorten it"
            )
        features = encode_ids(self.pad(flat)).split([len(some) for some in rows])
        return normalize(torch.stack([each.mean(dim=0) for each in features]))

    def rows_of(self, label: int) -> list[list[int]]:
        """Returns the token ids of a class's texts, from SOS to EOT."""
        name, index = self.names[label], int(self.trained[label])
        if own := self.given.get(words(spaced(name))):
            if self.tokenize is None:
                raise ValueError("texts need a tokenizer, e.g. transformers' CLIPTokenizer")
            return [encode(self.tokenize, text) for text in own]
        found = [] if index == UNSEEN else [rows[index] for rows in self.config["tokens"].values()]
        found = [row for row in found if row != NOTHING]
        if not found:
            raise ValueError(
                f"the model has no text of class {name!r}; pass set_classes texts={{{name!r}: "
                "[…]} and a tokenizer"
            )
        return found

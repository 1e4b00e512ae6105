"""Methods whose text features are stored: their texts are not only templates of class names."""

import torch
from torch import Tensor

from prompt_jax.export.torch_parts.classifier import Classifier


class ClassArrays(Classifier):
    """A classifier with frozen text features of the classes that it was exported with."""

    new_classes = False

    def of_classes(self, stored: Tensor, axis: int = 0) -> Tensor:
        """Returns the entries of the current classes along an axis of all stored ones.

        Raises:
            ValueError: a class is not stored.
        """
        unknown = [name for name, k in zip(self.names, self.trained.tolist(), strict=True) if k < 0]
        if unknown:
            raise ValueError(
                f"the export has no text features of class {unknown[0]!r}: the method reads texts "
                "of the classes; export a model of these classes"
            )
        return torch.index_select(stored, axis, self.trained)

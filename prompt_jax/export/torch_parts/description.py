"""Classification by descriptions, or by sentences about the classes (CuPL), without training
(Menon & Vondrick, ICLR 2023; Pratt et al., ICCV 2023).
"""

import torch
from torch import Tensor

from prompt_jax.export.torch_parts.class_arrays import ClassArrays


class Description(ClassArrays):
    """Compares images with the mean, the sum or the maximum over the texts of each class."""

    members: Tensor

    def prepare(self) -> None:
        """Chooses the features of the classes, or for the maximum the texts of each class."""
        if self.settings["aggregate"] == "max":
            numbers = torch.arange(len(self.config["class_names"]), device=self.trained.device)
            own = self.prompts.owner[None] == numbers[:, None]
            self.keep("members", self.of_classes(own))
        else:
            self.keep("classes", self.of_classes(self.prompts.classes))

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits float[B, K]."""
        features = self.encode(images)
        if self.settings["aggregate"] != "max":
            return self.logits(features, self.classes)
        logits = self.logits(features, self.prompts.features)
        return logits[:, None].masked_fill(~self.members, float("-inf")).amax(dim=-1)


load = Description.load

"""FuDD: the texts of a class depend on the other likely classes of the image, without training
(Esfandiarpoor & Bach, "Follow-Up Differential Descriptions", ICLR 2024).
"""

import torch
from torch import Tensor

from prompt_jax.export.torch_parts.class_arrays import ClassArrays
from prompt_jax.export.torch_parts.clip import normalize

EXCLUDED = -1e4  # a logit whose probability is 0


class FuDD(ClassArrays):
    """Tells the most likely classes of zero-shot CLIP apart by texts about their differences."""

    slots: Tensor
    against: Tensor

    def prepare(self) -> None:
        """Chooses the texts of the classes, and which of them are said against which others."""
        self.keep("classes", self.of_classes(self.prompts.first))
        if self.settings["ambiguous"]:
            self.keep("slots", self.of_classes(self.prompts.slots).long())
            against = self.of_classes(self.of_classes(self.prompts.against), axis=2)
            self.keep("against", against)

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits float[B, K]."""
        features = self.encode(images)
        first = self.logits(features, self.classes)
        number = len(self.classes)
        if not self.settings["ambiguous"] or number == 1:
            return first
        k = min(self.settings["ambiguous"], number)
        chosen = first.topk(k).indices  # [B, k]
        said = self.against[chosen]  # [B, k, S, K]
        columns = chosen[:, None, None].expand(-1, k, said.shape[2], -1)
        used = said.gather(3, columns).amax(dim=-1)
        texts = self.prompts.features[self.slots[chosen]]  # [B, k, S, d]
        sums = (used[..., None] * texts).sum(dim=2)
        logits = self.logits(features, normalize(sums))
        if self.settings["others"] == "excluded":
            rest = torch.full_like(first, EXCLUDED)
        else:
            hidden = first.scatter(1, chosen, EXCLUDED)
            best = hidden.amax(dim=-1, keepdim=True)
            rest = first - best + logits.amin(dim=-1, keepdim=True) - 1
        return rest.scatter(1, chosen, logits)


load = FuDD.load

"""ViLT-CLIP's prompts of both towers, coupled by linear maps (Wang et al., AAAI 2024, eqs. 10, 11).

The scenario-guided loss applies to training only.
"""

from typing import Any

import torch
from torch import Tensor

from prompt_jax.export.torch_parts.vilt_independent import Independent


class Coupled(Independent):
    """A CLIP whose first layers project text prompts to vision prompts, later ones the reverse."""

    def text_slots(self) -> int:
        return self.settings["prompts"]

    def text_prompts(self) -> Tensor:
        """Returns the text prompts of all layers, float[J, b, d_l]."""
        p = self.prompts
        if not hasattr(p, "vision_prompts"):
            return p.text_prompts
        return torch.cat([p.text_prompts, _map(p.vision_to_text, p.vision_prompts)])

    def vision_prompts(self) -> Tensor:
        """Returns the vision prompts of all layers, float[J, b, d_v]."""
        made = _map(self.prompts.text_to_vision, self.prompts.text_prompts)
        if not hasattr(self.prompts, "vision_prompts"):
            return made
        return torch.cat([made, self.prompts.vision_prompts])


def _map(linear: Any, x: Tensor) -> Tensor:
    """Maps float[layers, b, in] to float[layers, b, out] by one shared map or one per layer."""
    return x @ linear.kernel + linear.bias[..., None, :]


load = Coupled.load

"""Two-layer MLPs that generate prompts: Linear, ReLU, Linear."""

from typing import Any

import torch
from torch import Tensor


def generate(network: Any, x: Tensor) -> Tensor:
    """Maps float[..., d] to float[..., out]."""
    hidden = torch.relu(x @ network.linear1.kernel + network.linear1.bias)
    return hidden @ network.linear2.kernel + network.linear2.bias


def generate_layers(network: Any, x: Tensor) -> Tensor:
    """Maps float[B, a, d] to float[B, J, a, out], with separate biases for each of J layers."""
    hidden = (x @ network.linear1.kernel)[:, None] + network.linear1.bias[:, None]
    return torch.relu(hidden) @ network.linear2.kernel + network.linear2.bias[:, None]

"""Small networks that make prompts: Linear, ReLU, Linear."""

from typing import Any

import torch
from torch import Tensor


def generate(network: Any, x: Tensor) -> Tensor:
    """float[..., d] -> float[..., out]."""
    hidden = torch.relu(x @ network.linear1.kernel + network.linear1.bias)
    return hidden @ network.linear2.kernel + network.linear2.bias


def generate_layers(network: Any, x: Tensor) -> Tensor:
    """With biases of its own for each of J layers: float[B, a, d] -> float[B, J, a, out]."""
    hidden = (x @ network.linear1.kernel)[:, None] + network.linear1.bias[:, None]
    return torch.relu(hidden) @ network.linear2.kernel + network.linear2.bias[:, None]

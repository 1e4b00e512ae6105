"""Compares the PyTorch code in each precision with a reference of this library."""

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file

from experiments.benchmark.cells import Cell
from experiments.benchmark.counterparts.torch_methods import build
from experiments.benchmark.handover import Figures, Handover, compare, image_batch


def measure(
    cell: Cell, weights: Path, handover: Handover, reference: Figures, platform: str
) -> dict[str, dict[str, float]]:
    """Returns the differences from the reference by precision, see `handover.compare`."""
    device = torch.device("cpu" if platform == "cpu" else "cuda")
    module = build(handover, load_file(weights), device)
    images, labels = image_batch(cell, handover.sizes["image_size"])
    tensor = torch.from_numpy(np.moveaxis(images, -1, -3).copy()).to(device)
    truth = torch.from_numpy(labels).long().to(device)
    found = {}
    for form in ("float32", "tf32", "bfloat16"):
        if form == "tf32" and platform == "cpu":
            continue
        torch.set_float32_matmul_precision("high" if form == "tf32" else "highest")
        torch.backends.cudnn.allow_tf32 = form == "tf32"
        rounded: Any = contextlib.nullcontext()
        if form == "bfloat16":
            rounded = torch.autocast(device.type, torch.bfloat16)
        module.zero_grad()
        with rounded:
            logits = module(tensor)
            module.loss(logits, truth).backward()
        gradients = {
            name: p.grad.float().cpu().numpy()
            for name, p in module.prompts.items()
            if p.grad is not None
        }
        found[form] = compare(reference, Figures(logits.detach().float().cpu().numpy(), gradients))
    return found

"""Compares this library on the device, in each precision, with itself on the CPU in float32."""

from pathlib import Path
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmark.cells import Cell
from experiments.benchmark.handover import Figures, Handover, compare
from experiments.benchmark.ours.jax_side import load_backbone
from experiments.benchmark.ours.work import set_up
from prompt_jax.clip import CLIP
from prompt_jax.clip.layers import scans
from prompt_jax.training import train

# Compute type and precision of float32 products, see `CLIP`.
FORMS = {
    "float32": ("float32", "highest"),
    "tf32": ("float32", "default"),
    "bfloat16": ("bfloat16", "highest"),
}


def measure(cell: Cell, weights: Path) -> tuple[dict[str, Any], Handover, Figures]:
    """Returns differences by precision, the counterpart's inputs, and the reference."""
    platform = jax.devices()[0].platform
    with jax.default_device(jax.devices("cpu")[0]):
        reference, handover = run(cell, weights, *FORMS["float32"], scan=False)
    found = {}
    for form, (dtype, precision) in FORMS.items():
        if form != "tf32" or platform == "gpu":  # other devices have no TF32
            figures, _ = run(cell, weights, dtype, precision, scans(platform))
            found[form] = compare(reference, figures)
    return found, handover, reference


def run(
    cell: Cell, weights: Path, dtype: str, precision: str, scan: bool
) -> tuple[Figures, Handover]:
    """Returns logits and gradients of a cell's first training step on the default device."""
    config, frozen = load_backbone(cell.backbone, weights)
    clip = CLIP(config, jnp.dtype(dtype), precision=precision, scan_layers=scan)
    frozen = clip.arrange(frozen)
    method, task, prompts, handover, [batch] = set_up(cell, clip, frozen)

    def loss(prompts, task):
        value, output = train.loss_and_output(method, prompts, task, batch)
        return value, output.logits

    gradients, logits = jax.jit(jax.grad(loss, has_aux=True))(prompts, task)
    flat = flax.traverse_util.flatten_dict(gradients, sep="/")
    arrays = {name: np.asarray(array) for name, array in flat.items()}
    return Figures(np.asarray(logits), arrays), handover

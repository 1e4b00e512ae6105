"""Sets up this library's side of a cell of a bare tower: one forward pass, without prompts."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from data_pipelines.scenes import CLASSES
from experiments.benchmark.cells import Cell, class_names
from experiments.benchmark.handover import Handover, image_batch
from prompt_jax.clip import CLIP, tokenizer
from prompt_jax.prompts import PHOTO


def set_up(cell: Cell, clip: CLIP) -> tuple[Callable[..., Any], Any, Handover]:
    """Returns the tower as (frozen, input) -> features, its input, and the counterpart's inputs."""
    names = [CLASSES[0]]
    if cell.method == "text_tower":
        names = class_names(cell.batch, CLASSES)
    texts = [PHOTO.format(each.replace("_", " ")) for each in names]
    tokens = tokenizer.tokenize(texts, clip.config.context_length)
    handover = Handover(cell.method, dataclasses.asdict(clip.config), {}, tokens, None, {})
    if cell.method == "text_tower":
        # All 77 slots on both sides, so that the same work is compared.
        return clip.encode_text, jnp.asarray(tokens, np.int32), handover
    images, _ = image_batch(cell, clip.config.image_size)
    return clip.encode_image, jnp.asarray(images), handover

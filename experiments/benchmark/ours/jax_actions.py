"""Sets up this library's side of a cell of videos with classes."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from data_pipelines.scenes import CLASSES
from experiments.benchmark.cells import Cell, class_names
from experiments.benchmark.handover import Handover, feature_batch, image_batch
from experiments.benchmark.ours.jax_pairs import take_features
from prompt_jax import methods
from prompt_jax.clip import CLIP, Frozen, tokenizer
from prompt_jax.methods import Method, Prompts, Task


def text_part(name: str) -> Method:
    """Returns the method on given video features, without the image tower."""
    return methods.recognize(methods.get_encoders(name)._replace(encode_videos=take_features))


def hand_over(
    name: str, clip: CLIP, settings: Any, prompts: Prompts, names: Sequence[str]
) -> Handover:
    """Returns the inputs of the counterpart for the same computation."""
    words = " ".join(["X"] * methods.get_encoders(name).text_prompts(settings))
    cleaned = [each.replace("_", " ") for each in names]
    slots = clip.config.context_length
    arrays = flax.traverse_util.flatten_dict(prompts, sep="/")
    return Handover(
        name,
        dataclasses.asdict(clip.config),
        dataclasses.asdict(settings),
        tokenizer.tokenize([f"{words} {each}." for each in cleaned], slots),
        tokenizer.tokenize([settings.template.format(each) for each in cleaned], slots),
        {path: np.array(array) for path, array in arrays.items()},
    )


def set_up(
    cell: Cell, clip: CLIP, frozen: Frozen
) -> tuple[Method, Task, Prompts, Handover, list[dict[str, Any]]]:
    """Returns method, task, initial prompts, the counterpart's inputs, and a list of one batch."""
    encoders, names = methods.get_encoders(cell.method), class_names(cell.K, CLASSES)
    settings = encoders.Settings()
    method = text_part(cell.method) if cell.part == "text" else methods.recognize(encoders)
    task = methods.make_task(method, clip, frozen, names, settings)
    prompts = encoders.init(jax.random.key(0), task)
    images, labels = image_batch(cell, clip.config.image_size)
    if cell.part == "text":
        images = feature_batch(cell, clip.config.embed_dim)
    batch = {"image": jnp.asarray(images), "label": jnp.asarray(labels)}
    return method, task, prompts, hand_over(cell.method, clip, settings, prompts, names), [batch]

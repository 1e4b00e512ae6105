"""Sets up this library's side of a cell of videos with captions."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from data_pipelines.scenes import CLASSES
from experiments.benchmark.cells import Cell, captions
from experiments.benchmark.handover import Handover, feature_batch, image_batch
from prompt_jax import methods
from prompt_jax.clip import CLIP, Frozen, normalize, tokenizer
from prompt_jax.clip.captions import tokenize_captions
from prompt_jax.clip.packing import pack_captions
from prompt_jax.methods import Method, Prompts, Task


def take_features(prompts: Prompts, task: Task, features: jax.Array) -> jax.Array:
    """Encodes videos that are given as features: normalizes them."""
    del prompts, task
    return normalize(features)


def text_part(name: str) -> Method:
    """Returns the method on given video features, without the image tower."""
    return methods.retrieve(methods.get_encoders(name)._replace(encode_videos=take_features))


def hand_over(
    name: str, clip: CLIP, settings: Any, prompts: Prompts, tokens: Sequence[Sequence[int]]
) -> Handover:
    """Returns the inputs of the counterpart; `tokens` are the result of `tokenize_captions`."""
    slots = clip.config.context_length - methods.get_encoders(name).text_prompts(settings)
    rows = np.zeros((len(tokens), slots), np.int32)
    for row, own in zip(rows, tokens, strict=True):
        row[: 1 + len(own)] = [tokenizer.SOS, *own]
    arrays = flax.traverse_util.flatten_dict(prompts, sep="/")
    return Handover(
        name,
        dataclasses.asdict(clip.config),
        dataclasses.asdict(settings),
        rows,
        None,
        {path: np.array(array) for path, array in arrays.items()},
    )


def set_up(
    cell: Cell, clip: CLIP, frozen: Frozen
) -> tuple[Method, Task, Prompts, Handover, list[dict[str, Any]]]:
    """Returns method, task, initial prompts, the counterpart's inputs, and a list of one batch."""
    encoders, config = methods.get_encoders(cell.method), clip.config
    settings = encoders.Settings()
    method = text_part(cell.method) if cell.part == "text" else methods.retrieve(encoders)
    task = methods.make_task(method, clip, frozen, (), settings)
    prompts = encoders.init(jax.random.key(0), task)
    texts, slots = captions(cell.batch, CLASSES), config.context_length
    tokens = tokenize_captions(texts, encoders.text_prompts(settings), slots).tokens
    images, labels = image_batch(cell, config.image_size)
    if cell.part == "text":
        images = feature_batch(cell, config.embed_dim)
    batch = {
        "image": jnp.asarray(images),
        "text": pack_captions(tokens),
        "label": jnp.asarray(labels),
    }
    return method, task, prompts, hand_over(cell.method, clip, settings, prompts, tokens), [batch]

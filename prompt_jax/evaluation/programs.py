"""Compiled programs of methods, cached per method in the process."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from prompt_jax import methods
from prompt_jax.clip import normalize
from prompt_jax.mesh import replicate
from prompt_jax.methods import Method
from prompt_jax.methods.method import OF_IMAGES


@functools.cache
def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function of (prompts, task, …) under `jit`; it compiles once per shape.

    Its results are replicated over the devices.
    """

    def run(prompts, task, *rest):
        return replicate(task.clip.mesh, function(prompts, task, *rest))

    return jax.jit(run)


def to_host(array: Any) -> np.ndarray:
    """Returns an array of devices; with several hosts, on each of them the whole array."""
    if not isinstance(array, jax.Array) or array.is_fully_addressable or array.is_fully_replicated:
        return np.asarray(array)
    return np.asarray(multihost_utils.process_allgather(array, tiled=True))


@functools.cache
def features(method: Method) -> Callable[..., jax.Array]:
    """Returns (task, images) -> the input of `forward`, for methods on frozen features."""

    def run(task, images):
        return replicate(task.clip.mesh, methods.encode_input(method, task, images))

    return jax.jit(run)


@functools.cache
def logits(method: Method) -> Callable[..., jax.Array]:
    """Returns (prompts, prepared, task, images) -> float32[B, iterations, K]: `Method.forward`."""

    def run(prompts, prepared, task, images):
        seen = methods.encode_input(method, task, images)
        found = jnp.moveaxis(method.forward(prompts, prepared, task, seen).logits, 0, 1)
        return replicate(task.clip.mesh, found)

    return jax.jit(run)


@functools.cache
def logits_and_cosine(name: str, method: Method) -> Callable[..., jax.Array]:
    """Returns `logits` with cosines appended, float32[B, iterations + 1, K], see `Predictions`.

    Args:
        name: of the method; methods from outside have NaN for cosines.
        method: the method.
    """
    zero_shot, outside = methods.get("zero_shot"), methods.outside.is_outside(name)
    encoders = None if outside or method.input in OF_IMAGES else methods.get_encoders(name)

    def run(prompts, prepared, task, images):
        seen = methods.encode_input(method, task, images)
        found = method.forward(prompts, prepared, task, seen).logits
        plain, scale = found[-1:], task.scale
        if outside:
            scale = jnp.nan
        elif encoders:
            scale = encoders.scale(prompts, task)
        elif method.adaptation:  # which adds to zero-shot CLIP's logits
            plain = zero_shot.forward({}, None, task, seen).logits
        together = jnp.moveaxis(jnp.concatenate([found, plain / scale]), 0, 1)
        return replicate(task.clip.mesh, together)

    return jax.jit(run)


@functools.partial(jax.jit, static_argnums=0)
def encode_images(clip, frozen, images):
    """Encodes images as frozen, normalized features float32[B, d]."""
    return normalize(clip.encode_image(frozen, images))


@functools.partial(jax.jit, static_argnums=0)
def encode_texts(clip, frozen, tokens):
    """Encodes token ids int32[N, 77] as frozen, normalized features float32[N, d]."""
    return normalize(clip.encode_text(frozen, tokens))

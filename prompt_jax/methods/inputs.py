"""Inputs of methods: images, their frozen features, several views, or videos as images."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from prompt_jax.clip import CLIP, Frozen
from prompt_jax.clip.layers import Layer
from prompt_jax.errors import PromptError
from prompt_jax.methods.method import KEPT, OF_IMAGES, Method, Task

VARIANCE_EPSILON = 2.3e-8
"""Added to sums of squares, which are zero where all tokens are equal (GOPro's code)."""


class Views(NamedTuple):
    """Training images or videos, or their features, in several views; see `Method.views`."""

    images: Float[Array, "batch views ..."]


def split_views(images: Views | Array) -> tuple[Array, ...]:
    """Returns each view of training images by itself; of test images, the only one."""
    if isinstance(images, Views):
        return tuple(jnp.moveaxis(images.images, 1, 0))
    return (images,)


def encode_input(
    method: Method, task: Task, images: Float[Array, "batch ..."]
) -> Float[Array, "batch ..."]:
    """Returns the input of `forward`: the images or videos, or what `find_encoder` makes of them.

    Cached features, of an image float[B, d] or of frames float[B, F, d], are returned unchanged.
    """
    if method.input not in KEPT or images.ndim <= 3:
        return images
    return jax.lax.stop_gradient(find_encoder(method)(task.clip, task.frozen, images))


def encode_views(method: Method, task: Task, images: Float[Array, "batch views ..."]) -> Views:
    """Returns the views of training images, encoded by `encode_input` as if they were images."""
    batch, views, *shape = images.shape
    seen = encode_input(method, task, images.reshape(batch * views, *shape))
    return Views(seen.reshape(batch, views, *seen.shape[1:]))


def find_encoder(method: Method) -> Callable[[CLIP, Frozen, Array], Array]:
    """Returns the function of clip, its parameters and images whose result can be kept."""
    return encode_statistics if method.input == "statistics" else _encode_image


def _encode_image(clip: CLIP, frozen: Frozen, images: Array) -> Array:
    return clip.encode_image(frozen, images)


class Statistics(NamedTuple):
    """What `encode_statistics` computes of an image.

    Attributes:
        features: of the frozen image tower, not normalized.
        means: over the tokens after each layer, the class token included.
        deviations: their standard deviations.
    """

    features: Float[Array, "*batch dim"]
    means: Float[Array, "*batch layers image_width"]
    deviations: Float[Array, "*batch layers image_width"]


def encode_statistics(
    clip: CLIP, frozen: Frozen, images: Float[Array, "... height width 3"]
) -> Float[Array, "... numbers"]:
    """Computes features and the statistics of the tokens after all layers of the image tower.

    Returns:
        d + 2 L d_v numbers for each image, see `split_statistics`; of a video for `FrameAverage`
        the means over its frames.
    """
    tokens = clip.embed_image(frozen, images)

    def step(layer: Layer, tokens: Array, _: None) -> tuple[Array, tuple[Array, Array]]:
        # The last layer would otherwise return the class token alone.
        tokens = clip.run_image_layer(layer, tokens, tokens.shape[-2])
        mean = jnp.mean(tokens, axis=-2, keepdims=True)
        squares = jnp.sum(jnp.square(tokens - mean), axis=-2)
        deviation = jnp.sqrt((squares + VARIANCE_EPSILON) / tokens.shape[-2])
        return tokens, (mean[..., 0, :], deviation)

    layers = clip.image_layers(frozen)
    tokens, found = layers.run(step, tokens, [None] * layers.number)
    means, deviations = (jnp.stack(each, axis=-2) for each in zip(*found, strict=True))
    if isinstance(clip, FrameAverage):
        means, deviations = jnp.mean(means, axis=-3), jnp.mean(deviations, axis=-3)
    features = clip.image_head(frozen, tokens)
    parts = [features, *(each.reshape(*each.shape[:-2], -1) for each in (means, deviations))]
    return jnp.concatenate(parts, axis=-1)


def split_statistics(clip: CLIP, numbers: Float[Array, "*batch numbers"]) -> Statistics:
    """Returns the parts of `encode_statistics`."""
    c = clip.config
    width = c.image_layers * c.image_width
    features, means, deviations = jnp.split(numbers, [c.embed_dim, c.embed_dim + width], axis=-1)
    shape = (*numbers.shape[:-1], c.image_layers, c.image_width)
    return Statistics(features, means.reshape(shape), deviations.reshape(shape))


@dataclasses.dataclass(frozen=True)
class FrameAverage(CLIP):
    """A CLIP that takes videos float[B, F, H, W, 3] in place of images.

    Every image method works with it, whatever it changes in the image tower: the prompts of an
    image are shared by all frames, and features are averaged before they are normalized (ViFi-CLIP,
    Rasheed et al., CVPR 2023).
    """

    def image_head(
        self, frozen: Frozen, tokens: Float[Array, "batch *views frames tokens image_width"]
    ) -> Float[Array, "batch *views dim"]:
        """Computes video features, not normalized."""
        return jnp.mean(super().image_head(frozen, tokens), axis=-2)


def average_frames(clip: CLIP) -> FrameAverage:
    """Returns the same CLIP for videos."""
    fields = {field.name: getattr(clip, field.name) for field in dataclasses.fields(clip)}
    return FrameAverage(**fields)


def tower_for(method: Method, clip: CLIP, kind: str) -> CLIP:
    """Returns the CLIP for a method: `FrameAverage` for an image method on "videos"."""
    of_images = method.input in OF_IMAGES
    return average_frames(clip) if kind == "videos" and of_images else clip


def check_frame_groups(method: Method, settings: Any, frames: int, what: str) -> None:
    """Raises PromptError unless a method takes videos of so many frames; `what` says whose."""
    group = method.frame_groups(settings)
    if group and frames % group:
        raise PromptError(
            f"{what}={frames}: with these settings the method takes videos of a multiple of "
            f"{group} frames; use {max(1, frames // group) * group}, or change its settings"
        )

"""Adapters whose bottleneck is convolved over the frames of a video and the grid of patches.

They have no nonlinearity. Source: M²-CLIP (Wang et al., AAAI 2024).
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from prompt_jax.clip import CLIP
from prompt_jax.clip.blocks import convolve_channels
from prompt_jax.prompts import init_linear

Tokens = Float[Array, "batch frames tokens image_width"]


def init(
    rng: PRNGKeyArray, width: int, hidden: int, kernel: tuple[int, ...] = ()
) -> dict[str, Any]:
    """Draws "down" and "up", linear layers without biases, and "conv" between them, zeros."""
    down_rng, up_rng = jax.random.split(rng)
    layers = {
        "down": init_linear(down_rng, width, hidden) | {"bias": jnp.zeros(hidden)},
        "up": init_linear(up_rng, hidden, width) | {"bias": jnp.zeros(width)},
    }
    if kernel:
        layers["conv"] = {"kernel": jnp.zeros((*kernel, hidden)), "bias": jnp.zeros(hidden)}
    return layers


def convolve(
    clip: CLIP, layers: Any, x: Float[Array, "... width"], axes: tuple[int, ...]
) -> Float[Array, "... width"]:
    """Applies "down", a depthwise convolution along some axes, and "up"."""
    options = clip.block_options
    dtype = options["dtype"]

    def linear(layer: Any, x: Array) -> Array:
        y = jnp.matmul(
            x.astype(dtype), layer["kernel"].astype(dtype), precision=options["precision"]
        )
        return y + layer["bias"].astype(dtype)

    hidden, conv = linear(layers["down"], x), layers["conv"]
    return linear(layers["up"], convolve_channels(hidden, conv["kernel"], conv["bias"], axes))


def adapt(clip: CLIP, layers: Any, tokens: Tokens) -> Tokens:
    """Adds an adapter's output to the tokens of all frames.

    Every token is convolved over the frames at its place. For patches, so is the difference to the
    frame before, which is 0 for the first, over the grid of patches. Without patches, that part is
    left out.
    """
    along = tokens + convolve(clip, layers, tokens, (1,))
    if tokens.shape[-2] == 1:
        return along
    patches, side = tokens[:, :, 1:], clip.config.image_size // clip.config.patch_size
    change = jnp.concatenate([jnp.zeros_like(patches[:, :1]), patches[:, 1:] - patches[:, :-1]], 1)
    grid = change.reshape(*change.shape[:2], side, side, change.shape[-1])
    moved = convolve(clip, layers["difference"], grid, (2, 3)).reshape(change.shape)
    return jnp.concatenate([along[:, :, :1], along[:, :, 1:] + moved], axis=2)

"""Attention to given tokens, and the linear layers and norms of modules behind the towers."""

import math
from collections.abc import Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from prompt_jax.clip import CLIP
from prompt_jax.clip.blocks import Dense, attend, layer_norm

Parameters = Mapping[str, Any]


def init_attention(rng: jax.Array, width: int, inputs: int) -> dict[str, dict[str, jax.Array]]:
    """Draws attention of tokens of one width to tokens of another, as PyTorch does.

    Args:
        rng: random key.
        width: d, of the tokens that attend.
        inputs: m, of the tokens that they attend to.

    Returns:
        "query", "key_value" and "out", each {"kernel": float32[in, out], "bias": float32[out]}: the
        first two Xavier-uniform as in `nn.MultiheadAttention`, the last as `nn.Linear`; biases 0.
    """
    query_rng, seen_rng, out_rng = jax.random.split(rng, 3)

    def draw(rng: jax.Array, rows: int, columns: int, bound: float) -> dict[str, jax.Array]:
        kernel = jax.random.uniform(rng, (rows, columns), minval=-bound, maxval=bound)
        return {"kernel": kernel, "bias": jnp.zeros(columns)}

    return {
        "query": draw(query_rng, width, width, math.sqrt(6 / (4 * width))),
        # PyTorch draws the projections of queries, keys and values as one array.
        "key_value": draw(seen_rng, inputs, 2 * width, math.sqrt(6 / (inputs + 3 * width))),
        "out": draw(out_rng, width, width, width**-0.5),
    }


def attend_to(
    clip: CLIP,
    params: Parameters,
    heads: int,
    x: jax.Array,
    seen: jax.Array,
    mask: jax.Array | None = None,
) -> jax.Array:
    """Computes what tokens take from others, without residual and norms.

    Args:
        clip: its compute type, precision and form of attention.
        params: of `init_attention`.
        heads: number of heads.
        x: float[..., Q, d], tokens that attend.
        seen: float[..., S, m], tokens that they attend to.
        mask: bool, broadcastable to [..., heads, Q, S]; True where a token attends.

    Returns:
        float[..., Q, d] in the compute type.
    """

    options = clip.block_options
    query, key, value = (
        tokens.reshape(*tokens.shape[:-1], heads, -1)
        for tokens in (
            linear(clip, params["query"], x),
            *jnp.split(linear(clip, params["key_value"], seen), 2, axis=-1),
        )
    )
    attended = attend(query, key, value, mask, options["precision"], options["attention"])
    return linear(clip, params["out"], attended)


def linear(clip: CLIP, params: Parameters, x: jax.Array) -> jax.Array:
    """Applies {"kernel": float[in, out], "bias": float[out]} in the compute type of the blocks."""
    options = clip.block_options
    width = params["kernel"].shape[-1]
    layer = Dense(width, dtype=options["dtype"], precision=options["precision"], parent=None)
    return cast(jax.Array, layer.apply({"params": params}, x))


def norm(params: Parameters, x: jax.Array, dtype: DTypeLike = jnp.float32) -> jax.Array:
    """Applies a LayerNorm {"scale": float[d], "bias": float[d]}."""
    return cast(jax.Array, layer_norm(dtype).apply({"params": params}, x))


def init_norm(width: int) -> dict[str, jax.Array]:
    """Returns a LayerNorm that neither scales nor shifts."""
    return {"scale": jnp.ones(width), "bias": jnp.zeros(width)}

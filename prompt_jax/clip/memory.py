"""How much memory a tower's backward pass needs, and how to bound it."""

import math
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

# Both towers may keep a budget's worth, and there are weights, gradients and copies.
BUDGET_SHARE = 1 / 4


def default_budget() -> int | None:
    """Bytes for `CLIP.memory`: a quarter of a device's memory; None where nobody says how much.

    On a CPU it is a quarter of the host's.
    """
    device = jax.local_devices()[0]
    statistics = device.memory_stats() or {}
    if "bytes_limit" in statistics:
        return int(BUDGET_SHARE * statistics["bytes_limit"])
    if device.platform == "cpu" and hasattr(os, "sysconf"):
        return int(BUDGET_SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return None


def block_bytes(
    tokens: int, seen: int, width: int, mlp_width: int, heads: int, itemsize: int
) -> int:
    """What a block keeps for its backward pass, roughly, in bytes.

    Args:
        tokens: all tokens of the batch.
        seen: tokens that each of them looks at.
        width, mlp_width, heads: sizes of the block.
        itemsize: bytes of a number of the compute type.
    """
    float32s = 2 * width + 2 * heads * seen  # what the norms and the softmax see
    return tokens * (itemsize * (7 * width + 2 * mlp_width) + 4 * float32s)


def map_chunks(run: Callable[[Any], jax.Array], rows: Any, most: int) -> jax.Array:
    """`run` on all rows in even chunks, one after the other.

    Of a chunk only the result is kept; a backward pass computes the rest again.

    Args:
        run: pytree of arrays [n, ...] -> float[..., n, Q, d], each row by itself.
        rows: pytree of arrays [N, ...].
        most: rows a chunk, at least 1; the last chunk is padded with zeros.

    Returns:
        float[..., N, Q, d].
    """
    number = len(jax.tree.leaves(rows)[0])
    chunks = math.ceil(number / most)
    size = math.ceil(number / chunks)

    def split(x):
        padding = [(0, chunks * size - number)] + [(0, 0)] * (x.ndim - 1)
        return jnp.pad(x, padding).reshape(chunks, size, *x.shape[1:])

    # Inside a loop nothing can merge the second computation with the first.
    result = jax.lax.map(jax.checkpoint(run, prevent_cse=False), jax.tree.map(split, rows))
    result = jnp.moveaxis(result, 0, -4)
    result = result.reshape(*result.shape[:-4], chunks * size, *result.shape[-2:])
    return result[..., :number, :, :]

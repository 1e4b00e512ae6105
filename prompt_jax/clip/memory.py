"""Estimates and bounds the memory of a tower's backward pass."""

import functools
import math
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr

# Each tower may use the budget; the rest is for weights, gradients and copies.
BUDGET_SHARE = 1 / 4


def default_budget() -> int | None:
    """Returns the default of `CLIP.memory`: a quarter of the device's memory in bytes.

    On a CPU it is a quarter of the host's memory; None if the size is unknown.
    """
    device = jax.local_devices()[0]
    statistics = device.memory_stats() or {}
    if "bytes_limit" in statistics:
        return int(BUDGET_SHARE * statistics["bytes_limit"])
    if device.platform == "cpu" and hasattr(os, "sysconf"):
        return int(BUDGET_SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return None


@functools.cache
def sparing_options() -> dict[str, str]:
    """Returns compiler options with which a CPU computes in an order that needs little memory.

    By default XLA's CPU compiler starts everything as early as it can. It would recompute the
    activations of all blocks at once, long before the backward pass needs them. Values do not
    depend on the order, but small programs are up to 14 % slower in this one.

    Returns:
        options of `jax.jit`: none for other devices, and for versions of XLA without this option.
    """
    options = {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}
    if jax.default_backend() != "cpu":
        return {}
    try:
        jax.jit(lambda: 0, compiler_options=options).lower().compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return options


def recompute(run: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """Returns `run`; the backward pass keeps only its arguments and computes the rest again.

    `options` are those of `jax.checkpoint`.
    """
    return jax.checkpoint(run, policy=_keep_nothing, **options)


def recomputes(program: Jaxpr) -> bool:
    """Returns whether the backward pass of a traced program computes parts by `recompute` again."""
    for equation in program.eqns:
        if equation.params.get("policy") is _keep_nothing and equation.params["differentiated"]:
            return True
        if any(map(recomputes, inner_programs(equation.params))):
            return True
    return False


def _keep_nothing(*_: Any, **__: Any) -> bool:
    return False


def inner_programs(params: Mapping[str, Any]) -> Iterator[Jaxpr]:
    """Yields the programs among an equation's parameters, e.g. the body of a loop."""
    for value in params.values():
        for each in value if isinstance(value, tuple | list) else (value,):
            # Before JAX 0.12, a closed jaxpr contains a jaxpr.
            inner = getattr(each, "jaxpr", each)
            if isinstance(inner, Jaxpr):
                yield inner


def block_bytes(
    tokens: int, seen: int, width: int, mlp_width: int, heads: int, itemsize: int
) -> int:
    """Estimates the bytes that a block keeps for its backward pass.

    Args:
        tokens: all tokens of the batch.
        seen: tokens that each of them attends to.
        width, mlp_width, heads: sizes of the block.
        itemsize: bytes per number of the compute type.
    """
    float32s = 2 * width + 2 * heads * seen  # inputs of the norms and of the softmax
    return tokens * (itemsize * (7 * width + 2 * mlp_width) + 4 * float32s)


def map_chunks(run: Callable[[Any], jax.Array], rows: Any, most: int) -> jax.Array:
    """Applies `run` to all rows in even chunks, one after the other.

    Only the results are kept; the backward pass recomputes the rest.

    Args:
        run: maps a pytree of arrays [n, ...] to float[..., n, Q, d], each row independently.
        rows: pytree of arrays [N, ...].
        most: maximal rows per chunk, at least 1; the last chunk is padded with zeros.

    Returns:
        float[..., N, Q, d].
    """
    number = len(jax.tree.leaves(rows)[0])
    chunks = math.ceil(number / most)
    size = math.ceil(number / chunks)

    def split(x):
        padding = [(0, chunks * size - number)] + [(0, 0)] * (x.ndim - 1)
        return jnp.pad(x, padding).reshape(chunks, size, *x.shape[1:])

    # Inside a loop XLA cannot merge the recomputation with the forward pass.
    result = jax.lax.map(recompute(run, prevent_cse=False), jax.tree.map(split, rows))
    result = jnp.moveaxis(result, 0, -4)
    result = result.reshape(*result.shape[:-4], chunks * size, *result.shape[-2:])
    return result[..., :number, :, :]

"""Times forms of softmax attention on the device: written out, and JAX's fused ones."""

import functools
import statistics
import time
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from prompt_jax.clip.blocks import attention_weights

REPEATS, REPEAT_SECONDS = 5, 0.1


class Shape(NamedTuple):
    """Sizes of one attention; `causal`: each token attends to those before it and to itself."""

    batch: int
    tokens: int
    heads: int
    width: int
    causal: bool


# ViT-B/16 with four prompts at batch 256, and 1,000 class names of 32 tokens.
SHAPES = {"image tower": Shape(256, 201, 12, 64, False), "text tower": Shape(1000, 32, 8, 64, True)}
SMALL = {"image tower": Shape(2, 9, 2, 16, False), "text tower": Shape(3, 8, 2, 16, True)}


def written_out(query, key, value, mask):
    """Computes attention as two products, as in the towers on a CPU."""
    weights = attention_weights(query, key, mask, "default").astype(value.dtype)
    return jnp.einsum("...hqs,...shd->...qhd", weights, value)


def fused(implementation: Literal["xla", "cudnn"]) -> Callable[..., jax.Array]:
    """Returns `jax.nn.dot_product_attention` of an implementation, "xla" or "cudnn"."""

    def run(query, key, value, mask):
        return jax.nn.dot_product_attention(
            query, key, value, mask=mask, implementation=implementation
        )

    return run


FORMS = {"written out": written_out, "xla": fused("xla"), "cudnn": fused("cudnn")}


def measure(small: bool) -> list[dict[str, Any]]:
    """Returns a row per tower and form.

    Fields: "tower", "form", "shape"; "forward" and "backward" (forward and backward pass), each
    with seconds, bytes of temporaries and FLOP/s of the products; "difference", the largest one
    from the form that is written out. "reason", if the device cannot run the form, or a phase.
    """
    rows = []
    for tower, shape in (SMALL if small else SHAPES).items():
        sizes = (shape.batch, shape.tokens, shape.heads, shape.width)
        inputs = [
            jax.random.normal(jax.random.key(number), sizes, jnp.bfloat16) for number in range(3)
        ]
        mask = jnp.tril(jnp.ones((1, 1, shape.tokens, shape.tokens), bool))
        for form, attend in FORMS.items():
            row = {"tower": tower, "form": form, "shape": shape._asdict()}
            try:
                _measure(row, attend, inputs, mask if shape.causal else None)
            except Exception as error:  # of different kinds, by device and version
                row["reason"] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            rows.append(row)
    return rows


def _measure(row, attend, inputs, mask):
    """Adds the figures one by one: a device may run the forward pass of a form alone."""
    run = functools.partial(attend, mask=mask)

    def total(*inputs):
        return run(*inputs).astype(jnp.float32).sum()

    batch, tokens, heads, width = inputs[0].shape
    products = 4 * batch * heads * tokens**2 * width  # of the forward pass
    expected = jax.jit(functools.partial(written_out, mask=mask))(*inputs)
    error = jax.jit(run)(*inputs).astype(jnp.float32) - expected.astype(jnp.float32)
    row["difference"] = float(jnp.abs(error).max())
    programs: dict[str, tuple[Any, int]] = {
        "forward": (run, products),
        "backward": (jax.grad(total, argnums=(0, 1, 2)), 3 * products),
    }
    for phase, (function, flops) in programs.items():
        compiled = jax.jit(function).lower(*inputs).compile()
        seconds = _seconds(compiled, inputs)
        memory = getattr(compiled.memory_analysis(), "temp_size_in_bytes", None)
        row[phase] = {"seconds": seconds, "bytes": memory, "flops_per_second": flops / seconds}


def _seconds(compiled, inputs):
    def run(times):
        began = time.perf_counter()
        for _ in range(times):
            result = compiled(*inputs)
        jax.block_until_ready(result)
        return (time.perf_counter() - began) / times

    run(1)
    times = max(1, int(REPEAT_SECONDS / run(1)))
    return statistics.median(run(times) for _ in range(REPEATS))

"""VoP^C's context module: a sequence model over the class tokens of a video's frames.

Arrays of the LSTM have the names, shapes and gate order (input, forget, cell, output) of PyTorch's
`nn.LSTM`; both bias vectors are kept and added. The initial state is zero.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from prompt_jax.clip import CLIP
from prompt_jax.clip.blocks import Block
from prompt_jax.clip.layers import Layers
from prompt_jax.prompts import multiply

MODULES = ("bilstm", "lstm", "transformer")
DIRECTIONS = {"lstm": ("",), "bilstm": ("", "_reverse")}
TRANSFORMER_LAYERS = 4


def output_width(module: str, width: int) -> int:
    """Returns the width of a frame's output for inputs of `width`."""
    return width * len(DIRECTIONS.get(module, ("",)))


def init(rng: PRNGKeyArray, module: str, clip: CLIP) -> dict[str, Any]:
    """Draws {"lstm": …}, uniform ±1/√d_v as in PyTorch; or {"transformer": …}, as in CLIP."""
    width = clip.config.image_width
    if module == "transformer":
        block, x = _block(clip), jnp.zeros((1, width))
        rngs = jax.random.split(rng, TRANSFORMER_LAYERS)
        layers = {f"block_{n}": block.init(each, x)["params"] for n, each in enumerate(rngs)}
        return {"transformer": layers}
    shapes = {"weight_ih": (width,), "weight_hh": (width,), "bias_ih": (), "bias_hh": ()}
    names = [
        (f"{name}_l0{direction}", (4 * width, *inputs))
        for direction in DIRECTIONS[module]
        for name, inputs in shapes.items()
    ]
    rngs, bound = jax.random.split(rng, len(names)), width**-0.5
    return {
        "lstm": {
            name: jax.random.uniform(each, shape, minval=-bound, maxval=bound)
            for (name, shape), each in zip(names, rngs, strict=True)
        }
    }


def run(
    prompts: dict[str, Any], module: str, clip: CLIP, x: Float[Array, "*batch frames image_width"]
) -> Float[Array, "*batch frames outputs"]:
    """Applies the module; of a bidirectional LSTM, the forward direction comes first."""
    if module == "transformer":
        blocks = prompts["transformer"]
        return Layers(_block(clip), blocks, len(blocks), clip.scan_layers).apply(x)
    outputs = [run_lstm(prompts["lstm"], x, direction) for direction in DIRECTIONS[module]]
    return jnp.concatenate(outputs, axis=-1)


def run_lstm(
    lstm: dict[str, Array], x: Float[Array, "*batch frames inputs"], direction: str = ""
) -> Float[Array, "*batch frames outputs"]:
    """Applies one direction of the LSTM, "" or "_reverse"."""
    weight_ih, weight_hh, bias_ih, bias_hh = (
        lstm[f"{name}_l0{direction}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )

    def step(
        state: tuple[Array, Array], inputs: Float[Array, "*batch gates"]
    ) -> tuple[tuple[Array, Array], Array]:
        hidden, cell = state
        gates = inputs + multiply(hidden, weight_hh.T)
        i, f, g, o = jnp.split(gates, 4, axis=-1)
        cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
        hidden = jax.nn.sigmoid(o) * jnp.tanh(cell)
        return (hidden, cell), hidden

    inputs = multiply(x, weight_ih.T) + (bias_ih + bias_hh)
    zeros = jnp.zeros((*x.shape[:-2], weight_hh.shape[1]))
    frames_first = jnp.moveaxis(inputs, -2, 0)
    _, hidden = jax.lax.scan(step, (zeros, zeros), frames_first, reverse=bool(direction))
    return jnp.moveaxis(hidden, 0, -2)


def init_torch_linear(rng: PRNGKeyArray, inputs: int, outputs: int) -> dict[str, Array]:
    """Draws {"weight": float32[out, in], "bias": float32[out]}, uniform ±1/√in as in PyTorch."""
    weight_rng, bias_rng = jax.random.split(rng)
    bound = inputs**-0.5
    return {
        "weight": jax.random.uniform(weight_rng, (outputs, inputs), minval=-bound, maxval=bound),
        "bias": jax.random.uniform(bias_rng, (outputs,), minval=-bound, maxval=bound),
    }


def torch_linear(
    linear: dict[str, Array], x: Float[Array, "*batch inputs"]
) -> Float[Array, "*batch outputs"]:
    """Applies a linear layer."""
    return multiply(x, linear["weight"].T) + linear["bias"]


def _block(clip: CLIP) -> Block:
    c = clip.config
    sizes = (c.image_width, c.image_heads, c.image_mlp)
    return Block(*sizes, c.activation, TRANSFORMER_LAYERS, **clip.block_options, parent=None)

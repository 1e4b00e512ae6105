"""Runs the layers of a tower: unrolled, or as one loop that is compiled once."""

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from prompt_jax.clip.blocks import Block, attention_weights
from prompt_jax.mesh import replicate

STACKED = "blocks"
"""The key of a tower's layers with their arrays stacked along a first axis."""


class Layer(NamedTuple):
    """A tower's block with the parameters of one layer.

    Attributes:
        block: the block that all layers share.
        params: the layer's own parameters.
        last: whether it is the tower's last layer, whose outputs are mostly not read.
        number: inside a loop, its index in `stacked`; None outside.
        stacked: inside a loop, the parameters of all layers, which `params` replaces or extends.
    """

    block: Block
    params: Any
    last: bool = False
    number: jax.Array | None = None
    stacked: Any = None

    def enter(self, x: jax.Array) -> jax.Array:
        """Calls `Block.enter` with this layer's parameters."""
        adapted = any("before_attention" in each for each in (self.params, self.stacked or {}))
        return self._run("enter", x) if adapted else x

    def query(self, x: jax.Array) -> jax.Array:
        """Calls `Block.query` with this layer's parameters."""
        return self._run("query", x)

    def key_value(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Calls `Block.key_value` with this layer's parameters."""
        return self._run("key_value", x)

    def look(
        self,
        x: jax.Array,
        key: jax.Array,
        value: jax.Array,
        mask: jax.Array | None = None,
        asking: jax.Array | None = None,
    ) -> jax.Array:
        """Calls `Block.look` with this layer's parameters."""
        return self._run("look", x, key, value, mask, asking)

    def add_attention(
        self,
        x: jax.Array,
        key: jax.Array,
        value: jax.Array,
        mask: jax.Array | None = None,
        asking: jax.Array | None = None,
    ) -> jax.Array:
        """Calls `Block.add_attention` with this layer's parameters."""
        return self._run("add_attention", x, key, value, mask, asking)

    def add_mlp(self, x: jax.Array) -> jax.Array:
        """Calls `Block.add_mlp` with this layer's parameters."""
        return self._run("add_mlp", x)

    def self_attention(self, x: jax.Array) -> jax.Array:
        """Computes attention's output without the residual, float[..., S, d] of float[..., S, d].

        Tokens with the same leading indices attend to each other.
        """
        return self._run("attend", x, *self.key_value(x))

    def class_attention(self, tokens: jax.Array) -> jax.Array:
        """Computes the class token's attention to each token, for display.

        Args:
            tokens: float[..., S, d_v], the input of the layer.

        Returns:
            float32[..., heads, S]; each head's weights sum to 1.
        """
        key, _ = self.key_value(tokens)
        query = self.query(tokens[..., :1, :])
        return attention_weights(query, key, precision=self.block.precision)[..., 0, :]

    def _run(self, step, *tokens):
        if self.number is None:
            return _run(self.block, step, self.params, *tokens)
        # The stack is indexed in what is recomputed: otherwise the loop would keep a copy of each
        # layer's weights for the backward pass.
        return _run_in_loop(self.block, step, self.params, self.stacked, self.number, *tokens)


Step = Callable[[Layer, Any, Any], tuple[Any, Any]]
"""(layer, carry, input) -> (carry, output)."""


@dataclasses.dataclass(frozen=True)
class Layers:
    """All layers of a tower.

    Attributes:
        block: the block that all layers share.
        params: "block_0", "block_1", …, the parameters of each layer; or `STACKED`, those of all.
            With both, the arrays of single layers replace or extend the stacked ones.
        number: number of layers.
        scan: whether `run` traces similar layers once, as a `lax.scan`. On a GPU or TPU this
            compiles several times faster and needs less memory. On a CPU the loop copies each
            layer's weights out of their stack in every step, so the layers are unrolled
            (docs/performance.md).
    """

    block: Block
    params: Mapping[str, Any]
    number: int
    scan: bool = False

    def __getitem__(self, number: int) -> Layer:
        """Returns the layer with an index from 0."""
        stacked = self.params.get(STACKED, {})
        here = jax.tree.map(lambda x: x[number], stacked)
        return Layer(self.block, _overlay(here, self._own(number)), number == self.number - 1)

    def run(
        self, step: Step, carry: Any, inputs: Sequence[Any], first: int = 0
    ) -> tuple[Any, list[Any]]:
        """Runs consecutive layers.

        Consecutive layers run in one loop if their inputs have the same structure and shapes and
        `step` keeps the shapes of the carry. The tower's last layer always runs by itself.

        Args:
            step: runs one layer.
            carry: pytree that goes from layer to layer.
            inputs: the input of each layer, a pytree. Static fields are part of its structure.
            first: index of the first layer.

        Returns:
            the carry after the last of these layers, and the output of each.
        """
        outputs: list[Any] = []
        while len(outputs) < len(inputs):
            rest, here = inputs[len(outputs) :], first + len(outputs)
            alike = self._count_alike(step, carry, rest, here) if self.scan else 1
            if alike > 1:
                carry, found = self._loop(step, carry, rest[:alike], here)
                outputs += found
            else:
                carry, output = step(self[here], carry, rest[0])
                outputs.append(output)
        return carry, outputs

    def apply(self, x: jax.Array) -> jax.Array:
        """Runs all layers with plain self-attention on float[..., S, d]."""

        def step(layer, x, _):
            x = layer.enter(x)
            return layer.look(x, *layer.key_value(x)), None

        return self.run(step, x, [None] * self.number)[0]

    def _own(self, number):
        return self.params.get(f"block_{number}", {})

    def _count_alike(self, step, carry, inputs, here):
        most = min(len(inputs), self.number - 1 - here)
        if most < 2:
            return 1
        after = jax.eval_shape(lambda carry: step(self[here], carry, inputs[0])[0], carry)
        if _shapes(after) != _shapes(carry):
            return 1
        kinds = (_shapes((inputs[n], self._own(here + n))) for n in range(most))
        return len(list(next(itertools.groupby(kinds))[1]))

    def _loop(self, step, carry, inputs, here):
        stacked = self.params.get(STACKED, {})
        own = [self._own(here + n) for n in range(len(inputs))]
        numbers = _zero_by(carry) + jnp.arange(here, here + len(inputs))

        def body(carry, xs):
            # The whole stack is indexed: a slice of it would be a copy of all these weights.
            number, own, given = xs
            return step(Layer(self.block, own, number=number, stacked=stacked), carry, given)

        carry, outputs = jax.lax.scan(body, carry, (numbers, _stack(own), _stack(inputs)))
        return carry, [jax.tree.map(lambda x, n=n: x[n], outputs) for n in range(len(inputs))]


def scans(platform: str) -> bool:
    """Returns whether layers run as a loop by default on "cpu", "gpu", "cuda", "tpu" ….

    See `Layers.scan`.
    """
    return platform != "cpu"


def stack_layers(frozen: dict[str, Any], dtype: DTypeLike | None = None) -> dict[str, Any]:
    """Returns a CLIP's parameters with the layers of each tower stacked, see `STACKED`.

    `dtype` is that of the kernels; None keeps theirs.
    """
    return {part: _stack_tower(tree, dtype) for part, tree in frozen.items()}


def unstack_layers(frozen: dict[str, Any]) -> dict[str, Any]:
    """Returns a CLIP's parameters with one entry per layer; the reverse of `stack_layers`."""
    return {part: _unstack_tower(tree) for part, tree in frozen.items()}


def copy_arrays(
    frozen: Mapping[str, Any], chooses: Callable[[tuple[str, ...]], bool]
) -> dict[str, Any]:
    """Copies those arrays of a backbone that train, by layer.

    Args:
        frozen: parameters, by layer or stacked.
        chooses: (path, e.g. ("image", "block_0", "ln_1", "scale")) -> whether the array trains.

    Returns:
        the chosen arrays with the same nesting, for `merge`.
    """
    flat = flax.traverse_util.flatten_dict(unstack_layers(dict(frozen)))
    # Training donates the buffers of the prompts: the frozen arrays need their own.
    copies = {path: jnp.array(array, copy=True) for path, array in flat.items() if chooses(path)}
    return flax.traverse_util.unflatten_dict(copies)


def merge(frozen: Mapping[str, Any], arrays: Any) -> dict[str, Any]:
    """Replaces arrays of a backbone, or adds them; those of one layer come before stacked ones."""
    flat = flax.traverse_util.flatten_dict(frozen) | flax.traverse_util.flatten_dict(arrays)
    return flax.traverse_util.unflatten_dict(flat)


def _stack_tower(tower, dtype):
    if not isinstance(tower, Mapping) or "block_0" not in tower:
        return tower
    number = sum(name.startswith("block_") for name in tower)
    blocks = [tower[f"block_{n}"] for n in range(number)]
    rest = {name: tree for name, tree in tower.items() if not name.startswith("block_")}
    flat = flax.traverse_util.flatten_dict(_stack(blocks))
    if dtype is not None:
        flat = {path: x.astype(dtype) if path[-1] == "kernel" else x for path, x in flat.items()}
    return {**rest, STACKED: flax.traverse_util.unflatten_dict(flat)}


def _unstack_tower(tower):
    if not isinstance(tower, Mapping) or STACKED not in tower:
        return tower
    rest = {name: tree for name, tree in tower.items() if name != STACKED}
    number = len(jax.tree.leaves(tower[STACKED])[0])
    blocks = {
        f"block_{n}": jax.tree.map(lambda x, n=n: x[n], tower[STACKED]) for n in range(number)
    }
    return {**rest, **blocks}


def _zero_by(carry):
    """Returns int32 0 that depends on the carry, for JAX; XLA computes 0.

    Inside an outer loop, JAX would otherwise take the selection of each layer's weights out of that
    loop: a copy of all of them.
    """
    for x in jax.tree.leaves(carry):
        if jnp.size(x) and jnp.issubdtype(jnp.result_type(x), jnp.floating):
            return _zero(jnp.ravel(x)[0].astype(jnp.int32))
    return 0


@jax.custom_batching.custom_vmap
def _zero(x):
    return 0 * x


@_zero.def_vmap
def _zero_of_batch(axis_size, in_batched, x):
    # One for all: with layer numbers of their own, all elements would have copies of the weights.
    del axis_size, in_batched
    return _zero(x[0]), False


def _stack(trees):
    def stack(*arrays):
        return (np if isinstance(arrays[0], np.ndarray) else jnp).stack(arrays)

    return jax.tree.map(stack, *trees)


def _shapes(tree):
    leaves, structure = jax.tree.flatten(tree)
    return structure, [(jnp.shape(x), jnp.result_type(x)) for x in leaves]


def _overlay(tree, own):
    """Returns `tree` with the arrays of `own` in place of, or beside, its own."""
    if not isinstance(own, Mapping):
        return own
    if not isinstance(tree, Mapping):
        tree = {}
    return {**tree, **{name: _overlay(tree.get(name, {}), each) for name, each in own.items()}}


def _apply(block, step, params, *tokens):
    # Inside of the checkpoint, so that the backward pass gathers them again.
    params = replicate(block.split_over, params)
    return block.apply({"params": params}, *tokens, method=step)


def _apply_in_loop(block, step, own, stacked, number, *tokens):
    params = jax.tree.map(
        lambda x: jax.lax.dynamic_index_in_dim(x, number, keepdims=False), stacked
    )
    return _apply(block, step, _overlay(params, own), *tokens)


def _checkpointed(run, policy, **options):
    saving = jax.checkpoint(run, policy=policy, static_argnums=(0, 1), **options)
    return jax.jit(saving, static_argnums=(0, 1))


# Recomputing everything except matrix products is cheap and saves much memory.
_run = _checkpointed(_apply, jax.checkpoint_policies.dots_saveable)
# Attention scores are products of a batch. They are the largest arrays of a layer and cheap to
# recompute on an accelerator. Inside a loop XLA cannot merge the recomputation with the forward
# pass.
_run_in_loop = _checkpointed(
    _apply_in_loop, jax.checkpoint_policies.dots_with_no_batch_dims_saveable, prevent_cse=False
)

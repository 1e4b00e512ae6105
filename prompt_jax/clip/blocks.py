"""The pre-norm transformer block that both towers are made of."""

import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

LAYER_NORM_EPSILON = 1e-5
LAYERS = ("down", "up")  # of an adapter


def layer_norm(dtype: DTypeLike) -> nn.LayerNorm:
    """A LayerNorm with float32 statistics, whatever the compute type (CLIP's own convention)."""
    # The two-pass variance: E[x²]-E[x]² loses digits that the parity tests can see.
    return nn.LayerNorm(LAYER_NORM_EPSILON, dtype=dtype, use_fast_variance=False)


def head_projection(width: int, inputs: int) -> nn.Dense:
    """From a tower's width to features, in full float32: few tokens get here, and cosines times
    100 show every rounding."""
    init = nn.initializers.normal(inputs**-0.5)
    return nn.Dense(width, use_bias=False, kernel_init=init, precision="highest")


class Dense(nn.Dense):
    """A linear layer on the last axis, as one plain matrix product.

    XLA's CPU backend is up to 1.7 times slower on products (and their weight gradients) with more
    than one row axis; elsewhere the reshape is free.
    """

    def __call__(self, x: jax.Array) -> jax.Array:
        """float[..., in] -> float[..., out]."""
        y = super().__call__(x.reshape(-1, x.shape[-1]))
        return y.reshape(*x.shape[:-1], -1)


def attend(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array | None = None,
    precision: str = "highest",
) -> jax.Array:
    """Softmax attention; scores and softmax in float32. All attention goes through here.

    Args:
        query: float[..., Q, heads, width].
        key, value: float[..., S, heads, width].
        mask: bool, broadcastable to [..., heads, Q, S]; True where a query may look.
        precision: of products of float32, see `CLIP.precision`.

    Returns:
        float[..., Q, heads * width] in the type of `value`.
    """
    # Written out: on a CPU `jax.nn.dot_product_attention` takes 1.3 times as long for the image
    # tower's shapes, and as long for the text tower's.
    weights = attention_weights(query, key, mask, precision).astype(value.dtype)
    attended = jnp.einsum("...hqs,...shd->...qhd", weights, value, precision=precision)
    return attended.reshape(*attended.shape[:-2], -1)


def attention_weights(
    query: jax.Array, key: jax.Array, mask: jax.Array | None = None, precision: str = "highest"
) -> jax.Array:
    """How much each query looks at each key, float32[..., heads, Q, S]; see `attend`."""
    query = query * (query.shape[-1] ** -0.5)
    equation = "...qhd,...shd->...hqs"
    scores = jnp.einsum(
        equation, query, key, precision=precision, preferred_element_type=jnp.float32
    )
    if mask is not None:
        scores = jnp.where(mask, scores, -jnp.inf)
    return jax.nn.softmax(scores)


def put_before(first: jax.Array, tokens: jax.Array) -> jax.Array:
    """Keys or values float[..., T, heads, width] in front of float[..., S, heads, width].

    The axes [...] of both are broadcast against each other.
    """
    axes = jnp.broadcast_shapes(first.shape[:-3], tokens.shape[:-3])
    parts = (jnp.broadcast_to(part, (*axes, *part.shape[-3:])) for part in (first, tokens))
    return jnp.concatenate(list(parts), axis=-3)


class QueryKeyValue(nn.Module):
    """The three attention inputs in one kernel [d, 3d], query first, then key, then value."""

    width: int
    heads: int
    dtype: jnp.dtype
    precision: str = "highest"

    def setup(self):
        init = nn.initializers.normal(self.width**-0.5)
        self.kernel = self.param("kernel", init, (self.width, 3 * self.width))
        self.bias = self.param("bias", nn.initializers.zeros, (3 * self.width,))

    def query(self, x: jax.Array) -> jax.Array:
        """float[..., S, d] -> float[..., S, heads, d / heads]."""
        return self._project(x, slice(self.width))

    def key_value(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """float[..., S, d] -> two of float[..., S, heads, d / heads]."""
        key, value = jnp.split(self._project(x, slice(self.width, None)), 2, axis=-2)
        return key, value

    def _project(self, x, part):
        kernel = self.kernel[:, part].astype(self.dtype)
        y = jnp.matmul(x.reshape(-1, self.width), kernel, precision=self.precision)
        y += self.bias[part].astype(self.dtype)
        return y.reshape(*x.shape[:-1], -1, self.width // self.heads)


class Block(nn.Module):
    """One pre-norm block, in parts, so that a tower can put keys and values of its own between.

    The tokens between blocks stay float32 whatever the compute type, as they do under PyTorch's
    autocast: they add up what every layer says.

    `key_value` gives what others see of these tokens; `look` asks, adds what was seen, and runs the
    MLP. `__call__` is the two together: plain self-attention.

    Parameters may hold an adapter beside a sublayer, as "attention_adapter" or "mlp_adapter":
    {"normed" or "residual": {"down", "up"}}, two linear layers with a ReLU between them, of what
    the sublayer reads or of the tokens before its LayerNorm. What they say is added to what the
    sublayer says. `init` makes none.
    """

    width: int
    heads: int
    mlp_width: int
    activation: str
    layers: int
    dtype: jnp.dtype
    precision: str = "highest"

    def setup(self):
        # The initialisation of OpenAI's CLIP: residual outputs shrink with depth.
        residual = nn.initializers.normal((2 * self.layers * self.width) ** -0.5)
        dense = functools.partial(Dense, dtype=self.dtype, precision=self.precision)
        self.ln_1 = layer_norm(self.dtype)
        self.qkv = QueryKeyValue(self.width, self.heads, self.dtype, self.precision)
        self.out = dense(self.width, kernel_init=residual)
        self.ln_2 = layer_norm(self.dtype)
        self.fc = dense(
            self.mlp_width, kernel_init=nn.initializers.normal((2 * self.width) ** -0.5)
        )
        self.proj = dense(self.width, kernel_init=residual)

    def query(self, x: jax.Array) -> jax.Array:
        """float[..., S, d] -> float[..., S, heads, d / heads]."""
        return self.qkv.query(self.ln_1(x))

    def key_value(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """float[..., S, d] -> two of float[..., S, heads, d / heads]."""
        return self.qkv.key_value(self.ln_1(x))

    def finish(self, x: jax.Array, attended: jax.Array) -> jax.Array:
        """The tokens after this block, float[..., S, d], from those before and what they saw."""
        x = x + self._with_adapter("attention_adapter", self.out(attended), x, self.ln_1)
        hidden = self.fc(self.ln_2(x))
        if self.activation == "quick_gelu":
            hidden = hidden * jax.nn.sigmoid(1.702 * hidden)
        else:
            hidden = jax.nn.gelu(hidden, approximate=False)
        return x + self._with_adapter("mlp_adapter", self.proj(hidden), x, self.ln_2)

    def _with_adapter(self, name, said, x, norm):
        if not self.has_variable("params", name):
            return said
        adapters: dict[str, Any] = self.get_variable("params", name)
        for source, layers in adapters.items():
            h = norm(x) if source == "normed" else x.astype(self.dtype)
            down, up = (jax.tree.map(lambda p: p.astype(self.dtype), layers[n]) for n in LAYERS)
            multiply = functools.partial(jnp.matmul, precision=self.precision)
            hidden = jax.nn.relu(multiply(h, down["kernel"]) + down["bias"])
            said = said + multiply(hidden, up["kernel"]) + up["bias"]
        return said

    def look(
        self, x: jax.Array, key: jax.Array, value: jax.Array, mask: jax.Array | None = None
    ) -> jax.Array:
        """The tokens after this block, float[..., S, d], that have seen keys and values."""
        return self.finish(x, attend(self.query(x), key, value, mask, self.precision))

    def __call__(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """Plain self-attention, float[..., S, d]."""
        return self.look(x, *self.key_value(x), mask)


class Layer(NamedTuple):
    """A block and the parameters of one layer; a tower's layers share what is traced.

    Layers are not scanned: on a CPU a scan copies each layer's weights out of their stack at every
    turn (docs/performance.md has what it costs and saves).

    Attributes:
        block: the tower's.
        params: this layer's.
    """

    block: Block
    params: Any

    def query(self, x: jax.Array) -> jax.Array:
        """See `Block.query`."""
        return _run(self.block, "query", self.params, x)

    def key_value(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """See `Block.key_value`."""
        return _run(self.block, "key_value", self.params, x)

    def look(
        self, x: jax.Array, key: jax.Array, value: jax.Array, mask: jax.Array | None = None
    ) -> jax.Array:
        """See `Block.look`."""
        return _run(self.block, "look", self.params, x, key, value, mask)


# Between two products there is little to compute again, and much to keep.
@functools.partial(jax.jit, static_argnums=(0, 1))
@functools.partial(
    jax.checkpoint, policy=jax.checkpoint_policies.dots_saveable, static_argnums=(0, 1)
)
def _run(block, step, params, *tokens):
    return block.apply({"params": params}, *tokens, method=step)

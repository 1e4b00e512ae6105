"""The pre-norm transformer block of all towers."""

import functools
from collections.abc import Sequence
from typing import Any, Literal, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.typing import DTypeLike

LAYER_NORM_EPSILON = 1e-5
LAYERS = ("down", "up")  # of an adapter
Attention = Literal["written", "xla", "cudnn"]
ATTENTION = get_args(Attention)


def layer_norm(dtype: DTypeLike, epsilon: float = LAYER_NORM_EPSILON) -> nn.LayerNorm:
    """Returns a LayerNorm with float32 statistics for any compute type, as in CLIP."""
    # Two-pass variance: E[x²] - E[x]² loses digits that the parity tests check.
    return nn.LayerNorm(epsilon, dtype=dtype, use_fast_variance=False)


def head_projection(width: int, inputs: int) -> nn.Dense:
    """Returns the projection from a tower's width to features, in full float32.

    Few tokens reach it, and logits scale rounding errors of the cosines by 100.
    """
    init = nn.initializers.normal(inputs**-0.5)
    return nn.Dense(width, use_bias=False, kernel_init=init, precision="highest")


def normalize(features: jax.Array) -> jax.Array:
    """Normalizes features to unit L2 norm along the last axis, in float32."""
    features = features.astype(jnp.float32)
    return features / jnp.linalg.norm(features, axis=-1, keepdims=True)


class Dense(nn.Dense):
    """A linear layer on the last axis, computed as one matrix product.

    XLA's CPU backend is up to 1.7 times slower on products (and their weight gradients) with more
    than one row axis; on other backends the reshape is free.
    """

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps float[..., in] to float[..., out]."""
        y = super().__call__(x.reshape(-1, x.shape[-1]))
        return y.reshape(*x.shape[:-1], -1)


def attend(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array | None = None,
    precision: str = "highest",
    form: Attention = "written",
) -> jax.Array:
    """Computes softmax attention of both towers, with scores and softmax in float32.

    Args:
        query: float[..., Q, heads, width].
        key, value: float[..., S, heads, width].
        mask: bool, broadcastable to [..., heads, Q, S]; True where a query attends to a key.
        precision: of float32 products, see `CLIP.precision`.
        form: see `CLIP.attention`.

    Returns:
        float[..., Q, heads * width] in the dtype of `value`.
    """
    if form != "written":
        return _library_attention(query, key, value, mask, precision, form)
    # On a CPU `jax.nn.dot_product_attention` is 1.3 times slower for the image tower's shapes and
    # no faster for the text tower's.
    weights = attention_weights(query, key, mask, precision).astype(value.dtype)
    attended = jnp.einsum("...hqs,...shd->...qhd", weights, value, precision=precision)
    return attended.reshape(*attended.shape[:-2], -1)


def _library_attention(query, key, value, mask, precision, form):
    queries, heads, width = query.shape[-3:]
    axes = jnp.broadcast_shapes(query.shape[:-3], key.shape[:-3])
    if mask is not None:
        mask = jnp.broadcast_to(mask, (*axes, 1, queries, key.shape[-3]))
        mask = mask.reshape(-1, *mask.shape[-3:])
    query, key, value = (
        jnp.broadcast_to(x, (*axes, *x.shape[-3:])).reshape(-1, *x.shape[-3:])
        for x in (query, key, value)
    )
    with jax.default_matmul_precision(precision):
        attended = jax.nn.dot_product_attention(query, key, value, mask=mask, implementation=form)
    return attended.reshape(*axes, queries, heads * width)


def attention_weights(
    query: jax.Array, key: jax.Array, mask: jax.Array | None = None, precision: str = "highest"
) -> jax.Array:
    """Computes attention weights float32[..., heads, Q, S]; see `attend` for the arguments."""
    query = query * (query.shape[-1] ** -0.5)
    equation = "...qhd,...shd->...hqs"
    scores = jnp.einsum(
        equation, query, key, precision=precision, preferred_element_type=jnp.float32
    )
    if mask is not None:
        scores = jnp.where(mask, scores, -jnp.inf)
    return jax.nn.softmax(scores)


def put_before(first: jax.Array, tokens: jax.Array) -> jax.Array:
    """Prepends keys or values float[..., T, heads, width] to float[..., S, heads, width].

    The leading axes are broadcast against each other.
    """
    axes = jnp.broadcast_shapes(first.shape[:-3], tokens.shape[:-3])
    parts = (jnp.broadcast_to(part, (*axes, *part.shape[-3:])) for part in (first, tokens))
    return jnp.concatenate(list(parts), axis=-3)


class QueryKeyValue(nn.Module):
    """The query, key and value projections in one kernel [d, 3d], in this order."""

    width: int
    heads: int
    dtype: jnp.dtype
    precision: str = "highest"

    def setup(self):
        init = nn.initializers.normal(self.width**-0.5)
        self.kernel = self.param("kernel", init, (self.width, 3 * self.width))
        self.bias = self.param("bias", nn.initializers.zeros, (3 * self.width,))

    def query(self, x: jax.Array) -> jax.Array:
        """Computes queries float[..., S, heads, d / heads] of tokens float[..., S, d]."""
        return self._project(x, slice(self.width))

    def key_value(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Computes keys and values, each float[..., S, heads, d / heads], of float[..., S, d]."""
        key, value = jnp.split(self._project(x, slice(self.width, None)), 2, axis=-2)
        return key, value

    def _project(self, x, part):
        kernel = self.kernel[:, part].astype(self.dtype)
        y = jnp.matmul(x.reshape(-1, self.width), kernel, precision=self.precision)
        y += self.bias[part].astype(self.dtype)
        return y.reshape(*x.shape[:-1], -1, self.width // self.heads)


class Block(nn.Module):
    """A pre-norm transformer block, split so that callers can add keys and values.

    The residual stream stays float32 for any compute type, as under PyTorch's autocast: it
    accumulates the outputs of all layers.

    `enter` must be called first, on the tokens before the block: it applies an adapter in front of
    attention. `key_value` computes keys and values of tokens; `look` attends to given keys and
    values, adds the residual and runs the MLP, in two steps, `add_attention` and `add_mlp`.
    `__call__` combines all as plain self-attention.

    The parameters may include adapters parallel to a sublayer, "attention_adapter" or
    "mlp_adapter": {"normed" or "residual": {"down", "up"}}, two linear layers with a ReLU between
    them. Their input is the sublayer's input ("normed") or the tokens before its LayerNorm
    ("residual"); their output is added to the sublayer's. They may also include adapters in front
    of a sublayer, "before_attention" or "before_mlp": {"down", "up"}, with a GELU, whose output is
    added to the tokens. `init` creates none.

    If the parameters are split over a mesh, `split_over`, each call gathers them.
    """

    width: int
    heads: int
    mlp_width: int
    activation: str
    layers: int
    dtype: jnp.dtype
    precision: str = "highest"
    split_over: Mesh | None = None
    attention: Attention = "written"
    epsilon: float = LAYER_NORM_EPSILON

    def setup(self):
        # OpenAI's initialization: the scale of residual outputs decreases with depth.
        residual = nn.initializers.normal((2 * self.layers * self.width) ** -0.5)
        dense = functools.partial(Dense, dtype=self.dtype, precision=self.precision)
        self.ln_1 = layer_norm(self.dtype, self.epsilon)
        self.qkv = QueryKeyValue(self.width, self.heads, self.dtype, self.precision)
        self.out = dense(self.width, kernel_init=residual)
        self.ln_2 = layer_norm(self.dtype, self.epsilon)
        self.fc = dense(
            self.mlp_width, kernel_init=nn.initializers.normal((2 * self.width) ** -0.5)
        )
        self.proj = dense(self.width, kernel_init=residual)

    def enter(self, x: jax.Array) -> jax.Array:
        """Applies the adapter in front of attention, if any, to tokens float[..., S, d]."""
        return self._adapt("before_attention", x)

    def query(self, x: jax.Array) -> jax.Array:
        """Computes queries float[..., S, heads, d / heads] of tokens float[..., S, d]."""
        return self.qkv.query(self.ln_1(x))

    def key_value(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Computes keys and values, each float[..., S, heads, d / heads], of float[..., S, d]."""
        return self.qkv.key_value(self.ln_1(x))

    def attend(
        self, x: jax.Array, key: jax.Array, value: jax.Array, mask: jax.Array | None = None
    ) -> jax.Array:
        """Computes the output of attention to keys and values, float[..., S, d]; no residual."""
        return self.out(attend(self.query(x), key, value, mask, self.precision, self.attention))

    def add_attention(
        self,
        x: jax.Array,
        key: jax.Array,
        value: jax.Array,
        mask: jax.Array | None = None,
        asking: jax.Array | None = None,
    ) -> jax.Array:
        """Returns the tokens between attention and MLP, float[..., S, d].

        The queries are those of `asking`, other tokens in these slots, or of the tokens themselves.
        """
        attended = self.attend(x if asking is None else asking, key, value, mask)
        return x + self._with_adapter("attention_adapter", attended, x, self.ln_1)

    def add_mlp(self, x: jax.Array) -> jax.Array:
        """Returns the tokens after the block, float[..., S, d], given those before the MLP."""
        x = self._adapt("before_mlp", x)
        hidden = self.fc(self.ln_2(x))
        if self.activation == "quick_gelu":
            hidden = hidden * jax.nn.sigmoid(1.702 * hidden)
        else:
            hidden = jax.nn.gelu(hidden, approximate=False)
        return x + self._with_adapter("mlp_adapter", self.proj(hidden), x, self.ln_2)

    def _with_adapter(self, name, output, x, norm):
        if not self.has_variable("params", name):
            return output
        adapters: dict[str, Any] = self.get_variable("params", name)
        for source, layers in adapters.items():
            h = norm(x) if source == "normed" else x
            output = output + self._bottleneck(layers, h, jax.nn.relu)
        return output

    def _adapt(self, name, x):
        if not self.has_variable("params", name):
            return x
        layers: dict[str, Any] = self.get_variable("params", name)
        return x + self._bottleneck(layers, x, functools.partial(jax.nn.gelu, approximate=False))

    def _bottleneck(self, layers, x, activation):
        down, up = (jax.tree.map(lambda p: p.astype(self.dtype), layers[n]) for n in LAYERS)
        multiply = functools.partial(jnp.matmul, precision=self.precision)
        hidden = activation(multiply(x.astype(self.dtype), down["kernel"]) + down["bias"])
        return multiply(hidden, up["kernel"]) + up["bias"]

    def look(
        self,
        x: jax.Array,
        key: jax.Array,
        value: jax.Array,
        mask: jax.Array | None = None,
        asking: jax.Array | None = None,
    ) -> jax.Array:
        """Returns the tokens after the block, float[..., S, d]; see `add_attention`."""
        return self.add_mlp(self.add_attention(x, key, value, mask, asking))

    def __call__(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """Returns the tokens after the block with plain self-attention, float[..., S, d]."""
        x = self.enter(x)
        return self.look(x, *self.key_value(x), mask)


def convolve_channels(
    x: jax.Array, kernel: jax.Array, bias: jax.Array, axes: Sequence[int]
) -> jax.Array:
    """Computes a depthwise convolution along some axes, padded with zeros to the same shape.

    Args:
        x: float[..., d].
        kernel: float[k, …, d] with odd sizes k, one for each of the axes; as in PyTorch, it is
            applied without reversal.
        bias: float[d].
        axes: indices of axes of `x`.
    """
    # A sum of shifted arrays: XLA's convolutions with one channel per group are slow.
    sizes, total = kernel.shape[:-1], jnp.zeros_like(x)
    for place in np.ndindex(*sizes):
        shifted = x
        for axis, at, size in zip(axes, place, sizes, strict=True):
            shifted = shift(shifted, at - size // 2, axis)
        total = total + shifted * kernel[place].astype(x.dtype)
    return total + bias.astype(x.dtype)


def shift(x: jax.Array, by: int, axis: int) -> jax.Array:
    """Moves entries along an axis, so that entry i is the former i + `by`; zeros at the end."""
    if not by:
        return x
    number = x.shape[axis]
    by = max(-number, min(number, by))
    padding = [(0, 0)] * x.ndim
    padding[axis] = (max(0, -by), max(0, by))
    return jax.lax.slice_in_dim(jnp.pad(x, padding), max(0, by), max(0, by) + number, axis=axis)

"""The image tower as a sequence of steps: embed, block l, head. Independent of the methods."""

import math
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from prompt_jax.clip.blocks import Block, head_projection, layer_norm, put_before
from prompt_jax.clip.config import CLIPConfig
from prompt_jax.clip.layers import Layer
from prompt_jax.clip.memory import block_bytes

Between = Callable[[jax.Array], jax.Array]
"""A computation between attention and MLP: float[..., S, d_v] -> float[..., S, d_v]."""


class ImageTower(nn.Module):
    """A plain ViT with a class token and no attention mask."""

    config: CLIPConfig
    dtype: jnp.dtype
    precision: str = "highest"

    def setup(self):
        c = self.config
        normal = nn.initializers.normal(c.image_width**-0.5)
        self.patch_embedding = PatchEmbedding(
            c.image_width, c.patch_size, self.dtype, self.precision
        )
        self.class_embedding = self.param("class_embedding", normal, (c.image_width,))
        self.position_embedding = self.param(
            "position_embedding", normal, (1 + c.patches, c.image_width)
        )
        self.ln_pre = layer_norm(jnp.float32)
        self.blocks = [self.make_block(name=f"block_{layer}") for layer in range(c.image_layers)]
        self.ln_post = layer_norm(jnp.float32)
        self.projection = head_projection(c.embed_dim, c.image_width)

    def make_block(self, **options) -> Block:
        """Returns the block that all layers share."""
        c = self.config
        sizes = (c.image_width, c.image_heads, c.image_mlp)
        return Block(*sizes, c.activation, c.image_layers, self.dtype, self.precision, **options)

    def embed(self, images: jax.Array, prompts: jax.Array | None = None) -> jax.Array:
        """Computes class and patch tokens after `ln_pre`.

        Args:
            images: float[..., H, W, 3], normalized with CLIP's mean and standard deviation.
            prompts: float[..., a, d_v], appended to the patches before `ln_pre`, without positional
                embeddings; leading axes are broadcast against those of the images.

        Returns:
            float[..., 1 + patches (+ a), d_v].
        """
        patches = self.patch_embedding(images)
        class_token = jnp.broadcast_to(
            self.class_embedding, (*patches.shape[:-2], 1, patches.shape[-1])
        )
        tokens = jnp.concatenate([class_token, patches], axis=-2) + self.position_embedding
        if prompts is not None:
            prompts = jnp.broadcast_to(prompts, (*tokens.shape[:-2], *prompts.shape[-2:]))
            tokens = jnp.concatenate([tokens, prompts], axis=-2)
        return self.ln_pre(tokens)

    def pre_norm(self, tokens: jax.Array) -> jax.Array:
        """Applies `ln_pre` to tokens float[..., d_v]."""
        return self.ln_pre(tokens)

    def head(self, tokens: jax.Array) -> jax.Array:
        """Computes unnormalized image features float[..., d] of the class token, slot 0."""
        return self.projection(self.ln_post(tokens[..., 0, :]))

    def __call__(self, images: jax.Array) -> jax.Array:
        """Computes unnormalized image features float[B, d] without prompts."""
        tokens = self.embed(images)
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(tokens)


class PatchEmbedding(nn.Module):
    """A convolution with stride = kernel size, computed as one matrix product; CLIP has no bias."""

    width: int
    patch: int
    dtype: jnp.dtype
    precision: str = "highest"
    use_bias: bool = False

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Maps float[..., H, W, 3] to patches float[..., H/p * W/p, d_v] in row-major order."""
        p = self.patch
        init = nn.initializers.normal(self.width**-0.5)
        kernel = self.param("kernel", init, (p, p, 3, self.width))
        *axes, h, w, c = images.shape
        patches = images.reshape(-1, h // p, p, w // p, p, c).transpose(0, 1, 3, 2, 4, 5)
        patches = patches.reshape(*axes, -1, p * p * c).astype(self.dtype)
        kernel = kernel.reshape(-1, self.width).astype(self.dtype)
        embedded = jnp.matmul(patches, kernel, precision=self.precision)
        if not self.use_bias:
            return embedded
        return embedded + self.param("bias", nn.initializers.zeros, (self.width,))


class LayerRun(NamedTuple):
    """A layer of the image tower, as the steps of `CLIP.run_image_layers` get it.

    Attributes:
        layer: the layer.
        run: `CLIP.run_image_layer`.
    """

    layer: Layer
    run: Callable[..., jax.Array]

    def __call__(
        self,
        tokens: jax.Array,
        queries: int | None = None,
        prompts: jax.Array | None = None,
        between: Between | None = None,
        attending: Between | None = None,
    ) -> jax.Array:
        """Computes the tokens after the layer; see `CLIP.run_image_layer`."""
        return self.run(self.layer, tokens, queries, prompts, between, attending)

    def self_attention(self, tokens: jax.Array) -> jax.Array:
        """Computes what the layer's attention adds to tokens float[..., S, d_v], e.g. of frames.

        Tokens with the same leading indices attend to each other.
        """
        return self.layer.self_attention(tokens)


def run_layer(
    layer: Layer,
    queries: int | None,
    between: Between | None,
    attending: Between | None,
    tokens: jax.Array,
    prompts: jax.Array | None,
) -> jax.Array:
    """Computes the tokens after a layer; see `CLIP.run_image_layer`."""
    tokens, asking = layer.enter(tokens), None
    if attending is not None:
        asking = attending(tokens)
    key, value = layer.key_value(tokens if asking is None else asking)
    if prompts is not None:
        first = layer.key_value(prompts)
        key, value = put_before(first[0], key), put_before(first[1], value)
    tokens = tokens[..., :queries, :]
    if asking is not None:
        asking = asking[..., :queries, :]
    if between is None:
        return layer.look(tokens, key, value, asking=asking)
    return layer.add_mlp(between(layer.add_attention(tokens, key, value, asking=asking)))


def kept_bytes(
    config: CLIPConfig, tokens: jax.Array, prompts: jax.Array | None, itemsize: int
) -> int:
    """Estimates the bytes that all layers keep for the backward pass; see `block_bytes`."""
    seen = tokens.shape[-2] + (0 if prompts is None else prompts.shape[-2])
    sizes = (config.image_width, config.image_mlp, config.image_heads, itemsize)
    number = math.prod(tokens.shape[:-2]) * seen
    return config.image_layers * block_bytes(number, seen, *sizes)


@flax.struct.dataclass
class DeepInput:
    """The prompts of a layer, for the slots after the patches (ProMPT, eq. 9).

    Attributes:
        prompts: float[a, d_v] or float[B, a, d_v], or None.
        enters: whether they replace the tokens in these slots, bool[]; None if they do.
        queries: number of leading tokens that are read of the layer's output; None for all.
    """

    prompts: jax.Array | None
    enters: jax.Array | None = None
    queries: int | None = flax.struct.field(pytree_node=False, default=None)


def deep_inputs(
    config: CLIPConfig, deep_prompts: jax.Array | None, first_layer: int, scan: bool
) -> list[DeepInput]:
    """Returns the input of each layer; see `CLIP.encode_tokens`.

    With `scan`, all layers have prompts, zeros where none enter: a single loop runs them, and
    computes the outputs of a few more slots.
    """
    deep = [] if deep_prompts is None else list(jnp.moveaxis(deep_prompts, -3, 0))
    layers, prompted = range(config.image_layers), range(first_layer, first_layer + len(deep))
    own = dict(zip(prompted, deep, strict=True))
    if scan and deep:
        none = jnp.zeros_like(deep[0])
        return [DeepInput(own.get(n, none), jnp.asarray(n in prompted)) for n in layers]
    queries = {n: 1 + config.patches for n in layers if n + 1 in prompted}
    return [DeepInput(own.get(n), queries=queries.get(n)) for n in layers]


def put_prompts(tokens: jax.Array, given: DeepInput, images: int) -> jax.Array:
    """Puts the prompts of a layer in the slots after the first `images` of float[..., S, d_v]."""
    if given.prompts is None:
        return tokens
    with_prompts = add_slots(tokens[..., :images, :], given.prompts)
    return with_prompts if given.enters is None else jnp.where(given.enters, with_prompts, tokens)


def add_slots(tokens: jax.Array, prompts: jax.Array) -> jax.Array:
    """Appends prompts float[a, d_v] or float[B, a, d_v] to tokens float[B, ..., S, d_v]."""
    batch, axes = tokens.shape[0], tokens.shape[1:-2]
    prompts = jnp.broadcast_to(prompts, (batch, *prompts.shape[-2:]))
    prompts = prompts.reshape(batch, *(1 for _ in axes), *prompts.shape[-2:])
    prompts = jnp.broadcast_to(prompts, (batch, *axes, *prompts.shape[-2:]))
    return jnp.concatenate([tokens, prompts], axis=-2)

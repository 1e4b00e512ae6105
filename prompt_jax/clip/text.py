"""The text tower, the way a language model serves a shared prefix: prefill once, then extend.

The mask is causal, so `[SOS][context]` never sees the class name behind it: its keys and values are
the same for all classes. And nothing behind EOT is ever read. So a prompt costs its few own tokens,
not 77.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from prompt_jax.clip.blocks import Block, Layer, head_projection, layer_norm, put_before
from prompt_jax.clip.config import CLIPConfig

Cache = Sequence[tuple[jax.Array, jax.Array]]
"""Keys and values of a prefix, a pair per layer, each float[..., T, heads, width]."""


class TextTower(nn.Module):
    """CLIP's causal transformer. Context reaches it as embeddings, by `prefill` and `extend`."""

    config: CLIPConfig
    dtype: jnp.dtype
    precision: str = "highest"

    def setup(self):
        c = self.config
        normal = nn.initializers.normal
        self.token_embedding = self.param(
            "token_embedding", normal(0.02), (c.vocab_size, c.text_width)
        )
        self.position_embedding = self.param(
            "position_embedding", normal(0.01), (c.context_length, c.text_width)
        )
        self.blocks = [self.make_block(name=f"block_{layer}") for layer in range(c.text_layers)]
        self.ln_final = layer_norm(jnp.float32)
        self.projection = head_projection(c.embed_dim, c.text_width)

    def make_block(self, **options) -> Block:
        """The block that all layers are made of."""
        c = self.config
        sizes = (c.text_width, c.text_heads, c.text_mlp)
        return Block(*sizes, c.activation, c.text_layers, self.dtype, self.precision, **options)

    def embed(self, tokens: jax.Array) -> jax.Array:
        """Token embeddings without positions: int[...] -> float[..., d_l]."""
        return jnp.take(self.token_embedding, tokens, axis=0)

    def place(self, embeddings: jax.Array, slots: jax.Array) -> jax.Array:
        """Adds the positional embeddings of slots int[..., S] to float[..., S, d_l]."""
        return embeddings + jnp.take(self.position_embedding, slots, axis=0)

    def head(self, x: jax.Array) -> jax.Array:
        """Text features float[..., d] from the last block's output at EOT, float[..., d_l]."""
        return self.projection(self.ln_final(x))

    def prefill(
        self,
        layers: Sequence[Layer],
        prefix: jax.Array,
        deep_prompts: jax.Array | None = None,
        sos: Cache | None = None,
    ) -> Cache:
        """Runs the tokens that all classes share and keeps what later tokens will look at.

        Args:
            layers: this tower's.
            prefix: float[..., T, d_l], embeddings of [SOS][context] without positions; of [context]
                alone with `sos`.
            deep_prompts: float[J - 1, M, d_l] or None; they overwrite slots 1..M before layers
                1..J-1 and get no position (MaPLe, section 3.2).
            sos: keys and values of SOS, without the axes [...]: the first token sees itself alone,
                so they are always the same.

        Returns:
            a pair (keys, values) per layer, those of SOS first.
        """
        start = 0 if sos is None else 1
        x = self.place(prefix, start + jnp.arange(prefix.shape[-2]))
        mask = causal(start + x.shape[-2])[start:]
        first, deep = 1 - start, [] if deep_prompts is None else list(deep_prompts)
        cache = []
        for number, layer in enumerate(layers):
            if 0 < number <= len(deep):
                x = insert(x, deep[number - 1], first)
            key, value = layer.key_value(x)
            if sos is not None:
                key, value = put_before(sos[number][0], key), put_before(sos[number][1], value)
            cache.append((key, value))
            going_on = mask
            if number < len(deep):  # the next layer brings its own
                slots = slice(first, first + len(deep[number]))
                x, going_on = (jnp.delete(each, slots, axis=-2) for each in (x, mask))
            # Nobody reads the prefix after its last keys.
            if number < len(layers) - 1 and x.shape[-2]:
                x = layer.look(x, key, value, going_on)
        return cache

    def see_prompts(self, layers: Sequence[Layer], sos: Cache, prompts: jax.Array) -> Cache:
        """What tokens behind SOS look at where each layer sees prompts of its own, for once.

        What such prompts become is dropped, so they only have keys and values, which depend on
        nothing but themselves; the first layer's have the positions behind SOS, the others none
        (VoP, section 3.2).

        Args:
            layers: this tower's.
            sos: keys and values of SOS, without axes [...].
            prompts: float[K, n, d_l], those of the first K layers.

        Returns:
            a pair (keys, values) per layer: those of SOS, and behind it, in K layers, the prompts'.
        """
        cache = []
        for number, (layer, column) in enumerate(zip(layers, sos, strict=True)):
            if number < len(prompts):
                x = prompts[number]
                x = x if number else self.place(x, 1 + jnp.arange(len(x)))
                key, value = layer.key_value(x)
                column = put_before(column[0], key), put_before(column[1], value)
            cache.append(column)
        return cache

    def extend(
        self,
        layers: Sequence[Layer],
        cache: Cache,
        tokens: jax.Array,
        position: jax.Array,
        eot: jax.Array,
    ) -> jax.Array:
        """Text features of classes: their own tokens, run against the shared prefix.

        Args:
            layers: this tower's.
            cache: from `prefill` or `see_prompts`, with leading axes [...] (none, or one prefix per
                image). Layers may hold prefixes of several lengths; the first one's says where the
                positions of the classes begin.
            tokens: float[N, R, d_l], embeddings in rows of one class or several, one behind the
                other, padded.
            position: int[N, R], each token's place within its own class, from 0: it sees the
                prefix and as many tokens before it.
            eot: int[N, Q], where in its row each of Q classes has its EOT.

        Returns:
            float[..., N, Q, d], not normalised.
        """
        x = self.place(tokens, cache[0][0].shape[-3] + position)
        slot = jnp.arange(tokens.shape[-2])
        distance = slot[:, None] - slot
        own = (distance >= 0) & (distance <= position[..., None])
        for number, (layer, prefix) in enumerate(zip(layers, cache, strict=True)):
            key, value = (
                put_before(first[..., None, :, :, :], each)
                for first, each in zip(prefix, layer.key_value(x), strict=True)
            )
            if number == len(layers) - 1:  # only EOT is read: one query per class is enough
                row = jnp.arange(len(eot))[:, None]
                x, own = x[..., row, eot, :], own[row, eot]
            before = ((0, 0), (0, 0), (key.shape[-3] - own.shape[-1], 0))
            mask = jnp.pad(own, before, constant_values=True)  # [N, R or Q, T + R]
            x = layer.look(x, key, value, mask[:, None])
        return self.head(x)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        """The plain form: features float[N, S, d] at every slot of token ids int[N, S]."""
        x = self.place(self.embed(tokens), jnp.arange(tokens.shape[-1]))
        for block in self.blocks:
            x = block(x, causal(tokens.shape[-1]))
        return self.head(x)


def one_class_a_row(tokens: jax.Array) -> jax.Array:
    """The `position` int[N, S] of rows float[N, S, d] that hold one class each."""
    return jnp.broadcast_to(jnp.arange(tokens.shape[-2]), tokens.shape[:-1])


def causal(length: int) -> jax.Array:
    """bool[length, length], True where a token (row) may look (column)."""
    return jnp.tril(jnp.ones((length, length), bool))


def insert(x: jax.Array, prompts: jax.Array, first: int) -> jax.Array:
    """Puts prompts float[M, d] in front of slot `first` of x float[..., T, d]."""
    prompts = jnp.broadcast_to(prompts, (*x.shape[:-2], *prompts.shape[-2:]))
    return jnp.concatenate([x[..., :first, :], prompts, x[..., first:, :]], axis=-2)

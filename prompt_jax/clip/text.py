"""The text tower with a key-value cache for the shared prefix: prefill once, then extend.

The mask is causal, so `[SOS][context]` does not depend on the class name after it: its keys and
values are the same for all classes. Slots after EOT are never read. A class therefore costs only
the tokens of its name, not 77.
"""

from collections.abc import Iterator, Sequence

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from prompt_jax.clip.blocks import Block, head_projection, layer_norm, put_before
from prompt_jax.clip.config import CLIPConfig
from prompt_jax.clip.layers import Layer, Layers

Cache = Sequence[tuple[jax.Array, jax.Array]]
"""Keys and values of a prefix: one pair per layer, each float[..., T, heads, width]."""


@flax.struct.dataclass
class StackedCache:
    """A `Cache` that is kept, with the keys of all layers in one array, and their values.

    A loop over the layers takes such arrays as they are; pairs of single layers would be stacked by
    as many copies in every step.

    Attributes:
        keys, values: float[layers, ..., T, heads, width].
    """

    keys: jax.Array
    values: jax.Array

    @classmethod
    def of(cls, cache: Cache) -> "StackedCache":
        """Stacks the layers of a cache."""
        keys, values = zip(*cache, strict=True)
        return cls(jnp.stack(keys), jnp.stack(values))

    def __iter__(self) -> Iterator[tuple[jax.Array, jax.Array]]:
        """Yields the pairs of a cache."""
        return iter([(self.keys[n], self.values[n]) for n in range(len(self.keys))])


class TextTower(nn.Module):
    """CLIP's causal text transformer; `prefill` and `extend` take prompts as embeddings."""

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
        """Returns the block that all layers share."""
        c = self.config
        sizes = (c.text_width, c.text_heads, c.text_mlp)
        return Block(*sizes, c.activation, c.text_layers, self.dtype, self.precision, **options)

    def embed(self, tokens: jax.Array) -> jax.Array:
        """Looks up token embeddings float[..., d_l] of int[...], without positions."""
        return jnp.take(self.token_embedding, tokens, axis=0)

    def place(self, embeddings: jax.Array, slots: jax.Array) -> jax.Array:
        """Adds the positional embeddings of slots int[..., S] to float[..., S, d_l]."""
        return embeddings + jnp.take(self.position_embedding, slots, axis=0)

    def head(self, x: jax.Array) -> jax.Array:
        """Computes text features float[..., d] from the last block's EOT, float[..., d_l]."""
        return self.projection(self.ln_final(x))

    def prefill(
        self,
        layers: Layers,
        prefix: jax.Array,
        deep_prompts: jax.Array | None = None,
        sos: Cache | None = None,
    ) -> Cache:
        """Runs the tokens that all classes share and returns their keys and values.

        Args:
            layers: this tower's.
            prefix: float[..., T, d_l], embeddings of [SOS][context] without positions; of [context]
                alone if `sos` is given.
            deep_prompts: float[J - 1, M, d_l] or None; they overwrite slots 1..M before layers
                1..J-1, without positional embeddings (MaPLe, section 3.2).
            sos: precomputed keys and values of SOS, without leading axes. SOS attends only to
                itself, so they are constant.

        Returns:
            a pair (keys, values) per layer, SOS first.
        """
        start = 0 if sos is None else 1
        x = self.place(prefix, start + jnp.arange(prefix.shape[-2]))
        mask = causal(start + x.shape[-2])[start:]
        first, deep = 1 - start, [] if deep_prompts is None else list(deep_prompts)
        inputs = [
            _PrefillInput(
                deep[number - 1] if 0 < number <= len(deep) else None,
                None if sos is None else sos[number],
                len(deep[number]) if number < len(deep) else 0,
            )
            for number in range(layers.number)
        ]

        def step(layer: Layer, x: jax.Array, given: _PrefillInput):
            if given.inserted is not None:
                x = insert(x, given.inserted, first)
            x = layer.enter(x)
            key, value = layer.key_value(x)
            if given.sos is not None:
                key, value = put_before(given.sos[0], key), put_before(given.sos[1], value)
            query_mask = mask
            if given.overwritten:
                slots = slice(first, first + given.overwritten)
                x, query_mask = (jnp.delete(each, slots, axis=-2) for each in (x, mask))
            # Only keys and values are needed of the last layer.
            if not layer.last and x.shape[-2]:
                x = layer.look(x, key, value, query_mask)
            return x, (key, value)

        return layers.run(step, x, inputs)[1]

    def see_prompts(self, layers: Layers, sos: Cache, prompts: jax.Array) -> Cache:
        """Computes the prefix cache for prompts that are new in each layer (VoP, section 3.2).

        The outputs of such prompts are dropped, so only their keys and values are computed, which
        depend on no other token. The first layer's prompts have the positions after SOS, the
        others none.

        Args:
            layers: this tower's.
            sos: keys and values of SOS, without leading axes.
            prompts: float[K, n, d_l], prompts of the first K layers.

        Returns:
            a pair (keys, values) per layer: SOS, followed by the prompts in the first K layers.
        """
        inputs = [
            _PromptsInput(column, prompts[number] if number < len(prompts) else None, number == 0)
            for number, column in enumerate(sos)
        ]

        def step(layer: Layer, carry: None, given: _PromptsInput):
            if given.prompts is None:
                return carry, given.sos
            x = given.prompts
            x = self.place(x, 1 + jnp.arange(len(x))) if given.first else x
            key, value = layer.key_value(layer.enter(x))
            return carry, (put_before(given.sos[0], key), put_before(given.sos[1], value))

        return layers.run(step, None, inputs)[1]

    def extend(
        self,
        layers: Layers,
        cache: Cache,
        tokens: jax.Array,
        position: jax.Array,
        eot: jax.Array,
        hidden: bool = False,
    ) -> jax.Array:
        """Computes text features of classes from the cached prefix and the classes' own tokens.

        Args:
            layers: this tower's.
            cache: from `prefill` or `see_prompts`, with leading axes [...] (none, or one prefix per
                image). Prefix lengths may differ between layers; positions of the classes continue
                after the first layer's prefix.
            tokens: float[N, R, d_l], embeddings in padded rows of one or more classes.
            position: int[N, R], each token's index within its class: it attends to the prefix and
                to as many tokens before it.
            eot: int[N, Q], index of each class's EOT in its row, or of any slot to read.
            hidden: whether to return the last block's tokens, float[..., N, Q, d_l], which `head`
                takes.

        Returns:
            float[..., N, Q, d], unnormalized.
        """
        x = self.place(tokens, cache[0][0].shape[-3] + position)
        slot = jnp.arange(tokens.shape[-2])
        distance = slot[:, None] - slot
        own = (distance >= 0) & (distance <= position[..., None])
        row = jnp.arange(len(eot))[:, None]

        def step(layer: Layer, x: jax.Array, prefix: tuple[jax.Array, jax.Array]):
            x = layer.enter(x)
            key, value = (
                put_before(first[..., None, :, :, :], each)
                for first, each in zip(prefix, layer.key_value(x), strict=True)
            )
            seen = own
            if layer.last:  # only EOT is read: one query per class is enough
                x, seen = x[..., row, eot, :], own[row, eot]
            before = ((0, 0), (0, 0), (key.shape[-3] - seen.shape[-1], 0))
            mask = jnp.pad(seen, before, constant_values=True)  # [N, R or Q, T + R]
            return layer.look(x, key, value, mask[:, None]), None

        x = layers.run(step, x, cache)[0]
        return x if hidden else self.head(x)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Computes features float[N, S, d] at every slot of token ids int[N, S], uncached."""
        x = self.place(self.embed(tokens), jnp.arange(tokens.shape[-1]))
        for block in self.blocks:
            x = block(x, causal(tokens.shape[-1]))
        return self.head(x)


@flax.struct.dataclass
class _PrefillInput:
    inserted: jax.Array | None  # prompts that enter before the layer
    sos: tuple[jax.Array, jax.Array] | None
    overwritten: int = flax.struct.field(pytree_node=False)  # slots that the next layer overwrites


@flax.struct.dataclass
class _PromptsInput:
    sos: tuple[jax.Array, jax.Array]
    prompts: jax.Array | None
    first: bool = flax.struct.field(pytree_node=False)


def one_class_a_row(tokens: jax.Array) -> jax.Array:
    """Returns `position` int[N, S] for rows float[N, S, d] with one class each."""
    return jnp.broadcast_to(jnp.arange(tokens.shape[-2]), tokens.shape[:-1])


def causal(length: int) -> jax.Array:
    """Returns the causal mask bool[length, length], rows are queries and columns keys."""
    return jnp.tril(jnp.ones((length, length), bool))


def insert(x: jax.Array, prompts: jax.Array, first: int) -> jax.Array:
    """Inserts prompts float[M, d] before slot `first` of x float[..., T, d]."""
    prompts = jnp.broadcast_to(prompts, (*x.shape[:-2], *prompts.shape[-2:]))
    return jnp.concatenate([x[..., :first, :], prompts, x[..., first:, :]], axis=-2)

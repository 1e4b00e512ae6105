"""A frozen CLIP as pure functions of a dict of parameters."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from prompt_jax.clip.blocks import Layer, attention_weights, put_before
from prompt_jax.clip.config import CLIPConfig
from prompt_jax.clip.image import ImageTower
from prompt_jax.clip.memory import block_bytes, map_chunks
from prompt_jax.clip.text import Cache, TextTower, one_class_a_row
from prompt_jax.errors import PromptError, unknown

PRECISIONS = ("highest", "high", "default")

Frozen = dict[str, Any]
"""{"image": …, "text": …, "logit_scale": …}: float32 arrays, the log of 1/τ last."""


@dataclasses.dataclass(frozen=True)
class CLIP:
    """Both towers, without their parameters: hashable, so that `jit` can take it as static.

    Every function takes `frozen` first. Pass it to `jit` as an argument: a captured constant would
    be folded into the program.

    Attributes:
        config: sizes.
        dtype: compute type of the blocks, float32 or bfloat16. Their sums, statistics and scores,
            and the features, stay float32.
        memory: about how many bytes one tower may keep for its backward pass, each time it runs;
            None for as many as it takes. Beyond, parts of it are computed twice: the text tower
            runs its classes in chunks, the image tower keeps no more than what enters each block.
            On several devices it is what each of them may keep.
        devices: over how many devices a batch is split.
        precision: of the blocks' products of float32, one of `PRECISIONS`. "highest" computes them
            in float32 on every device. "high" and "default" are faster on accelerators and round
            their inputs: to TF32 on an NVIDIA GPU; on a TPU to bfloat16, which "high" makes up for
            by three passes in place of one (`jax.lax.Precision`). A CPU computes all three alike.
    """

    config: CLIPConfig
    dtype: jnp.dtype = jnp.dtype("float32")
    memory: int | None = None
    devices: int = 1
    precision: str = "highest"

    def __post_init__(self):
        if self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)
        if self.memory is not None and self.memory < 1:
            raise PromptError(f"memory={self.memory} must be at least 1 byte, or None")

    def share_memory(self, users: int) -> "CLIP":
        """With an equal part of the memory for each of so many that keep something at once."""
        memory = None if self.memory is None else max(1, self.memory // users)
        return dataclasses.replace(self, memory=memory)

    def init(self, rng: jax.Array) -> Frozen:
        """Random parameters with OpenAI's initialisation (for pretraining and for tests)."""
        c = self.config
        image_rng, text_rng = jax.random.split(rng)
        images = jnp.zeros((1, c.image_size, c.image_size, 3))
        tokens = jnp.zeros((1, 1), jnp.int32)
        return {
            "image": self._image.init(image_rng, images)["params"],
            "text": self._text.init(text_rng, tokens)["params"],
            "logit_scale": jnp.asarray(jnp.log(1 / 0.07), jnp.float32),
        }

    def embed_image(
        self, frozen: Frozen, images: jax.Array, prompts: jax.Array | None = None
    ) -> jax.Array:
        """Tokens before the first block, float[..., S, d_v]; see `ImageTower.embed`."""
        return self._run(self._image, frozen["image"], "embed", images, prompts)

    def embed_prompts(self, frozen: Frozen, prompts: jax.Array) -> jax.Array:
        """Prompts float[..., a, d_v] as the first block takes them; see `ImageTower.pre_norm`."""
        return self._run(self._image, frozen["image"], "pre_norm", prompts)

    def class_token(self, frozen: Frozen) -> jax.Array:
        """The class token before `ln_pre`, float32[d_v], the same for all images."""
        return frozen["image"]["class_embedding"] + frozen["image"]["position_embedding"][0]

    def image_block(
        self,
        frozen: Frozen,
        layer: int,
        tokens: jax.Array,
        queries: int | None = None,
        prompts: jax.Array | None = None,
    ) -> jax.Array:
        """Tokens after block `layer`.

        Args:
            frozen: parameters.
            layer: which, from 0.
            tokens: float[..., S, d_v]. Those that share the axes [...] see each other.
            queries: how many of them, from the first on, go on; None for all, after the last block
                for the class token alone, since nothing reads the others. What does not go on is
                only seen, as prompts are that the next layer overwrites.
            prompts: float[..., a, d_v] or None: seen beside the tokens, by this layer alone. Axes
                of [...] that they lack they are shared over: their keys and values are computed
                once.

        Returns:
            float[..., queries or S, d_v].
        """
        c, here = self.config, self._layer(self._image, frozen["image"], layer)
        if queries is None and layer == c.image_layers - 1:
            queries = 1

        def look(tokens, prompts):
            key, value = here.key_value(tokens)
            if prompts is not None:
                first = here.key_value(prompts)
                key, value = put_before(first[0], key), put_before(first[1], value)
            return here.look(tokens[..., :queries, :], key, value)

        seen = tokens.shape[-2] + (0 if prompts is None else prompts.shape[-2])
        sizes = (c.image_width, c.image_mlp, c.image_heads, self.dtype.itemsize)
        number = math.prod(tokens.shape[:-2]) * seen
        needed = c.image_layers * block_bytes(number, seen, *sizes)
        if self.memory is not None and needed > self.memory * self.devices:
            look = jax.checkpoint(look)
        return look(tokens, prompts)

    def class_attention(self, frozen: Frozen, layer: int, tokens: jax.Array) -> jax.Array:
        """How much the class token looks at each token in block `layer`; for people to look at.

        Args:
            frozen: parameters.
            layer: which, from 0.
            tokens: float[..., S, d_v] as `image_block` takes them.

        Returns:
            float32[..., heads, S], each head's sums to 1.
        """
        here = self._layer(self._image, frozen["image"], layer)
        key, _ = here.key_value(tokens)
        query = here.query(tokens[..., :1, :])
        return attention_weights(query, key, precision=self._precision)[..., 0, :]

    def image_head(self, frozen: Frozen, tokens: jax.Array) -> jax.Array:
        """Image features float[..., d], not normalised, from the last block's tokens."""
        return self._run(self._image, frozen["image"], "head", tokens)

    def encode_tokens(
        self,
        frozen: Frozen,
        tokens: jax.Array,
        deep_prompts: jax.Array | None = None,
        first_layer: int = 0,
    ) -> jax.Array:
        """All blocks and the head on embedded tokens.

        Args:
            frozen: parameters.
            tokens: float[B, ..., S, d_v] from `embed_image`.
            deep_prompts: float[J, a, d_v] or float[B, J, a, d_v]; before each of J layers they
                take the place of whatever stands behind the patches (ProMPT, eq. 9); after those
                layers the slots flow on.
            first_layer: the layer that the first deep prompts enter, counted from 0.

        Returns:
            image features float[B, ..., d], not normalised.
        """
        prompts = {}  # by the layer that they enter
        if deep_prompts is not None:
            batch, axes = tokens.shape[0], tokens.shape[1:-2]
            deep = jnp.broadcast_to(deep_prompts, (batch, *deep_prompts.shape[-3:]))
            for depth in range(deep.shape[1]):
                here = deep[:, depth].reshape(batch, *(1 for _ in axes), *deep.shape[-2:])
                here = jnp.broadcast_to(here, (batch, *axes, *deep.shape[-2:]))
                prompts[first_layer + depth] = here
        without_prompts = 1 + self.config.patches
        for layer in range(self.config.image_layers):
            if layer in prompts:
                image_tokens = tokens[..., :without_prompts, :]
                tokens = jnp.concatenate([image_tokens, prompts[layer]], axis=-2)
            queries = without_prompts if layer + 1 in prompts else None
            tokens = self.image_block(frozen, layer, tokens, queries)
        return self.image_head(frozen, tokens)

    def encode_image(
        self, frozen: Frozen, images: jax.Array, deep_prompts: jax.Array | None = None
    ) -> jax.Array:
        """Image features float[B, ..., d], not normalised, of float[B, ..., H, W, 3].

        Axes [...] are those of a video's frames, each of them an image of its own; see
        `encode_tokens`.
        """
        return self.encode_tokens(frozen, self.embed_image(frozen, images), deep_prompts)

    def embed_text(self, frozen: Frozen, tokens: jax.Array) -> jax.Array:
        """Token embeddings without positions: int[...] -> float32[..., d_l]."""
        return self._run(self._text, frozen["text"], "embed", tokens)

    def prefill(
        self,
        frozen: Frozen,
        prefix: jax.Array,
        deep_prompts: jax.Array | None = None,
        sos: Cache | None = None,
    ) -> Cache:
        """Keys and values of [SOS][context]; see `TextTower.prefill`."""
        layers = self._text_layers(frozen)
        return self._run(self._text, frozen["text"], "prefill", layers, prefix, deep_prompts, sos)

    def see_prompts(self, frozen: Frozen, sos: Cache, prompts: jax.Array) -> Cache:
        """Keys and values of [SOS][prompts that one layer sees]; see `TextTower.see_prompts`."""
        layers = self._text_layers(frozen)
        return self._run(self._text, frozen["text"], "see_prompts", layers, sos, prompts)

    def extend(
        self,
        frozen: Frozen,
        cache: Cache,
        tokens: jax.Array,
        position: jax.Array,
        eot: jax.Array,
    ) -> jax.Array:
        """Text features float[..., N, Q, d] of classes in rows; see `TextTower.extend`.

        Rows that need more than `memory` together run in chunks.
        """
        c, prefix = self.config, cache[0][0]
        number, length = position.shape
        seen, batch = prefix.shape[-3] + length, math.prod(prefix.shape[:-3])
        sizes = (c.text_width, c.text_mlp, c.text_heads, self.dtype.itemsize)
        row = c.text_layers * block_bytes(batch * length, seen, *sizes)
        fits = math.inf
        if self.memory is not None:
            fits = self.memory / row
            # Prefixes of images are split over the devices; one that all images share is on each.
            if batch > 1:
                fits *= self.devices

        layers = self._text_layers(frozen)

        def run(rows):
            return self._run(self._text, frozen["text"], "extend", layers, cache, *rows)

        rows = (tokens, position, eot)
        return run(rows) if number <= fits else map_chunks(run, rows, max(1, int(fits)))

    def encode_text(self, frozen: Frozen, tokens: jax.Array) -> jax.Array:
        """Text features float[N, d], not normalised, of token ids int[N, S] with SOS and EOT."""
        eot = jnp.argmax(tokens == self.config.eot, axis=-1)
        cache = self.prefill(frozen, self.embed_text(frozen, tokens[0, :1]))
        own = self.embed_text(frozen, tokens[:, 1:])
        return self.extend(frozen, cache, own, one_class_a_row(own), eot[:, None] - 1)[:, 0]

    @property
    def _image(self):
        return ImageTower(self.config, self.dtype, self._precision, parent=None)

    @property
    def _text(self):
        return TextTower(self.config, self.dtype, self._precision, parent=None)

    @property
    def block_options(self) -> dict[str, Any]:
        """Compute type and precision of a `Block` beside the towers, by the block's field names."""
        return {"dtype": self.dtype, "precision": self._precision}

    @property
    def _precision(self):
        # Products of bfloat16 are exact before they are summed up: no pass can add to them.
        return self.precision if self.dtype == jnp.float32 else "default"

    def _text_layers(self, frozen):
        numbers = range(self.config.text_layers)
        return [self._layer(self._text, frozen["text"], number) for number in numbers]

    def _layer(self, tower, params, number):
        return Layer(tower.make_block(parent=None), params[f"block_{number}"])

    def _run(self, tower, params, step, *args):
        return tower.apply({"params": params}, *args, method=step)


def normalize(features: jax.Array) -> jax.Array:
    """L2-normalised along the last axis, in float32."""
    features = features.astype(jnp.float32)
    return features / jnp.linalg.norm(features, axis=-1, keepdims=True)

"""A frozen CLIP as pure functions of its parameters."""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from prompt_jax.clip.blocks import ATTENTION, Attention
from prompt_jax.clip.config import CLIPConfig
from prompt_jax.clip.image import (
    Between,
    ImageTower,
    LayerRun,
    add_slots,
    deep_inputs,
    kept_bytes,
    put_prompts,
    run_layer,
)
from prompt_jax.clip.layers import Layer, Layers, stack_layers
from prompt_jax.clip.memory import block_bytes, map_chunks, recompute
from prompt_jax.clip.text import Cache, TextTower, one_class_a_row
from prompt_jax.errors import PromptError, unknown
from prompt_jax.mesh import DATA, constrain, replicate, size, split_batch, text_axes

PRECISIONS = ("highest", "high", "default")

Frozen = dict[str, Any]
"""{"image": …, "text": …, "logit_scale": …}: float32 arrays; logit_scale is the log of 1/τ."""


@dataclasses.dataclass(frozen=True)
class CLIP:
    """Both towers without their parameters; hashable, usable as a static argument of `jit`.

    Every method takes the parameters `frozen` first. Pass them to `jit` as an argument: a captured
    constant would be compiled into the program.

    Attributes:
        config: the architecture.
        dtype: compute type of the blocks, float32 or bfloat16. The residual stream, statistics,
            attention scores and features stay float32.
        memory: approximate bytes per device that one tower may keep for its backward pass; None for
            no limit. Beyond it, activations are recomputed: the text tower runs its classes in
            chunks, the image tower keeps only the inputs of its blocks.
        mesh: the devices that arrays are split over, see `prompt_jax.mesh`; None for one device.
        shard_frozen: whether the parameters are split over the mesh; layers gather their own.
        precision: of the blocks' float32 products, one of `PRECISIONS`. "highest" computes them in
            float32 on every device. "high" and "default" are faster on accelerators and round
            their inputs: to TF32 on an NVIDIA GPU, to bfloat16 on a TPU, where "high" compensates
            with three passes (`jax.lax.Precision`). On a CPU all three are the same.
        attention: how softmax attention is computed: "written" as two products; or by
            `jax.nn.dot_product_attention`, "xla" or "cudnn" (NVIDIA, 16-bit types).
        scan_layers: whether similar layers are compiled once, as a loop; see `layers.Layers`. Both
            forms compute the same values. The parameters may be by layer or stacked; see `arrange`.
        few_lengths: whether the tokens of classes are padded to few lengths, so that other classes
            seldom need another program.
    """

    config: CLIPConfig
    dtype: jnp.dtype = jnp.dtype("float32")
    memory: int | None = None
    mesh: Mesh | None = None
    precision: str = "highest"
    shard_frozen: bool = False
    scan_layers: bool = False
    attention: Attention = "written"
    few_lengths: bool = False

    def __post_init__(self):
        if self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)
        if self.attention not in ATTENTION:
            raise unknown("attention", self.attention, ATTENTION)
        if self.memory is not None and self.memory < 1:
            raise PromptError(f"memory={self.memory} must be at least 1 byte, or None")

    def share_memory(self, users: int) -> "CLIP":
        """Returns a copy with the memory divided among `users` that run at the same time."""
        memory = None if self.memory is None else max(1, self.memory // users)
        return dataclasses.replace(self, memory=memory)

    def init(self, rng: jax.Array) -> Frozen:
        """Returns random parameters with OpenAI's initialization (for pretraining and tests)."""
        c = self.config
        image_rng, text_rng = jax.random.split(rng)
        images = jnp.zeros((1, c.image_size, c.image_size, 3))
        tokens = jnp.zeros((1, 1), jnp.int32)
        return {
            "image": self._image.init(image_rng, images)["params"],
            "text": self._text.init(text_rng, tokens)["params"],
            "logit_scale": jnp.asarray(jnp.log(1 / 0.07), jnp.float32),
        }

    def arrange(self, frozen: Frozen, exact: bool = False) -> Frozen:
        """Returns parameters as they are best computed with: in a loop, stacked over the layers.

        Args:
            frozen: parameters by layer.
            exact: whether all weights stay float32. Otherwise a loop gets its kernels in the
                compute type: it converts them anyway, and XLA would convert all of them before the
                loop, a copy.
        """
        if not self.scan_layers:
            return frozen
        return stack_layers(frozen, None if exact else self.dtype)

    def embed_image(
        self, frozen: Frozen, images: jax.Array, prompts: jax.Array | None = None
    ) -> jax.Array:
        """Computes the first block's tokens float[..., S, d_v]; see `ImageTower.embed`."""
        return self._run(self._image, frozen["image"], "embed", images, prompts)

    def embed_prompts(self, frozen: Frozen, prompts: jax.Array) -> jax.Array:
        """Applies `ln_pre` to prompts float[..., a, d_v]; see `ImageTower.pre_norm`."""
        return self._run(self._image, frozen["image"], "pre_norm", prompts)

    def class_token(self, frozen: Frozen) -> jax.Array:
        """Returns the class token before `ln_pre`, float32[d_v], the same for all images."""
        return frozen["image"]["class_embedding"] + frozen["image"]["position_embedding"][0]

    def image_layers(self, frozen: Frozen) -> Layers:
        """Returns the layers of the image tower."""
        return self._layers(self._image, frozen["image"], self.config.image_layers)

    def run_image_layer(
        self,
        layer: Layer,
        tokens: jax.Array,
        queries: int | None = None,
        prompts: jax.Array | None = None,
        between: Between | None = None,
        attending: Between | None = None,
    ) -> jax.Array:
        """Computes the tokens after a layer of the image tower.

        Args:
            layer: one of `image_layers`.
            tokens: float[..., S, d_v]. Tokens with the same leading indices attend to each other.
            queries: number of leading tokens to return; None for all, and after the last layer for
                the class token alone, the only one that is read. The other tokens are only
                attended to, for example prompts that the next layer overwrites.
            prompts: float[..., a, d_v] or None: attended to in this layer only. They may have fewer
                leading axes than the tokens; their keys and values are then computed once.
            between: applied to the tokens between attention and MLP, or None; it sees all axes.
            attending: (all tokens) -> tokens of the same shape, which attend to each other in their
                place; the results are added to the tokens as they were.

        Returns:
            float[..., queries or S, d_v].
        """
        if queries is None and layer.last:
            queries = 1
        look: Any = functools.partial(run_layer, layer, queries, between, attending)
        needed = kept_bytes(self.config, tokens, prompts, self.dtype.itemsize)
        if self.memory is not None and needed > self.memory * size(self.mesh, DATA):
            look = recompute(look)
        return split_batch(self.mesh, look(split_batch(self.mesh, tokens), prompts))

    def run_image_layers(
        self,
        frozen: Frozen,
        step: Callable[[LayerRun, jax.Array, Any], jax.Array],
        tokens: jax.Array,
        inputs: Sequence[Any],
        first: int = 0,
    ) -> jax.Array:
        """Returns the tokens after consecutive layers, with own computations between them.

        Args:
            frozen: parameters.
            step: (run, tokens, input) -> tokens; `run(tokens, queries, …)` is `run_image_layer` of
                the current layer; see also `LayerRun`.
            tokens: float[..., S, d_v] before the first of these layers.
            inputs: the input of each layer, a pytree. Layers whose inputs have the same structure,
                static fields and shapes may be traced once.
            first: index of the first layer.
        """

        def run(layer, tokens, given):
            return step(LayerRun(layer, self.run_image_layer), tokens, given), None

        return self.image_layers(frozen).run(run, tokens, inputs, first)[0]

    def image_block(
        self, frozen: Frozen, layer: int, tokens: jax.Array, queries: int | None = None
    ) -> jax.Array:
        """Computes the tokens after the layer with an index from 0; see `run_image_layer`."""
        return self.run_image_layer(self.image_layers(frozen)[layer], tokens, queries)

    def image_head(self, frozen: Frozen, tokens: jax.Array) -> jax.Array:
        """Computes unnormalized image features float[..., d] from the last block's tokens."""
        return self._run(self._image, frozen["image"], "head", tokens)

    def encode_tokens(
        self,
        frozen: Frozen,
        tokens: jax.Array,
        deep_prompts: jax.Array | None = None,
        first_layer: int = 0,
    ) -> jax.Array:
        """Runs all blocks and the head on embedded tokens.

        Args:
            frozen: parameters.
            tokens: float[B, ..., S, d_v] from `embed_image`.
            deep_prompts: float[J, a, d_v] or float[B, J, a, d_v]; before each of J layers they
                replace the slots after the patches (ProMPT, eq. 9); later layers keep the outputs
                in those slots.
            first_layer: index of the layer that the first deep prompts enter.

        Returns:
            unnormalized image features float[B, ..., d].
        """
        c = self.config
        inputs = deep_inputs(c, deep_prompts, first_layer, self.scan_layers)
        if self.scan_layers and first_layer == 0 and inputs[0].prompts is not None:
            tokens = add_slots(tokens, inputs[0].prompts)

        def step(run, tokens, given):
            return run(put_prompts(tokens, given, 1 + c.patches), given.queries)

        return self.image_head(frozen, self.run_image_layers(frozen, step, tokens, inputs))

    def encode_image(
        self, frozen: Frozen, images: jax.Array, deep_prompts: jax.Array | None = None
    ) -> jax.Array:
        """Computes unnormalized image features float[B, ..., d] of float[B, ..., H, W, 3].

        The axes [...] may be frames of videos, which are encoded independently; see
        `encode_tokens`.
        """
        return self.encode_tokens(frozen, self.embed_image(frozen, images), deep_prompts)

    def embed_text(self, frozen: Frozen, tokens: jax.Array) -> jax.Array:
        """Looks up token embeddings float32[..., d_l] of int[...], without positions."""
        return self._run(self._text, frozen["text"], "embed", tokens)

    def prefill(
        self,
        frozen: Frozen,
        prefix: jax.Array,
        deep_prompts: jax.Array | None = None,
        sos: Cache | None = None,
    ) -> Cache:
        """Computes keys and values of [SOS][context]; see `TextTower.prefill`."""
        layers = self.text_layers(frozen)
        return self._run(self._text, frozen["text"], "prefill", layers, prefix, deep_prompts, sos)

    def see_prompts(self, frozen: Frozen, sos: Cache, prompts: jax.Array) -> Cache:
        """Computes keys and values of [SOS][prompts of each layer]; see `TextTower.see_prompts`."""
        layers = self.text_layers(frozen)
        return self._run(self._text, frozen["text"], "see_prompts", layers, sos, prompts)

    def extend(
        self,
        frozen: Frozen,
        cache: Cache,
        tokens: jax.Array,
        position: jax.Array,
        eot: jax.Array,
        groups: int = 1,
        hidden: bool = False,
    ) -> jax.Array:
        """Computes text features float[..., N, Q, d] of packed classes; see `TextTower.extend`.

        The rows of a group run in chunks if together they need more than `memory`. The groups of
        rows are split over the mesh, see `mesh.text_axes`; N need not be a multiple of them.
        """
        c, cache = self.config, split_batch(self.mesh, cache, 3)
        prefix = cache[0][0]
        length, number = position.shape[1], math.ceil(len(position) / groups)
        seen, batch = prefix.shape[-3] + length, math.prod(prefix.shape[:-3])
        sizes = (c.text_width, c.text_mlp, c.text_heads, self.dtype.itemsize)
        row = c.text_layers * block_bytes(batch * length, seen, *sizes)
        fits = math.inf
        if self.memory is not None:
            fits = self.memory / row
            # Prefixes of images are split along `data`; one shared prefix is replicated.
            if batch > 1:
                fits *= size(self.mesh, DATA)

        layers = self.text_layers(frozen)

        def run(rows):
            return self._run(self._text, frozen["text"], "extend", layers, cache, *rows, hidden)

        def run_group(rows):
            return run(rows) if number <= fits else map_chunks(run, rows, max(1, int(fits)))

        def split(x):
            x = jnp.pad(x, [(0, groups * number - len(x))] + [(0, 0)] * (x.ndim - 1))
            x = x.reshape(groups, number, *x.shape[1:])
            return constrain(self.mesh, x, axes, *(None,) * (x.ndim - 1))

        rows, axes = (tokens, position, eot), text_axes(self.mesh, groups)
        if groups == 1:
            return run_group(rows)
        # Not one axis of images and rows: that could not be split along both axes of the mesh.
        features = jax.vmap(run_group, out_axes=-4)(jax.tree.map(split, rows))
        features = constrain(self.mesh, features, axes, None, None, None)
        features = features.reshape(*features.shape[:-4], -1, *features.shape[-2:])
        return features[..., : len(position), :, :]

    def encode_text(self, frozen: Frozen, tokens: jax.Array) -> jax.Array:
        """Computes unnormalized text features float[N, d] of int[N, S] with SOS and EOT."""
        eot = jnp.argmax(tokens == self.config.eot, axis=-1)
        cache = self.prefill(frozen, self.embed_text(frozen, tokens[0, :1]))
        own = self.embed_text(frozen, tokens[:, 1:])
        return self.extend(frozen, cache, own, one_class_a_row(own), eot[:, None] - 1)[:, 0]

    def text_head(self, frozen: Frozen, tokens: jax.Array) -> jax.Array:
        """Computes unnormalized text features float[..., d] from the last block's EOT."""
        return self._run(self._text, frozen["text"], "head", tokens)

    @property
    def _image(self):
        return ImageTower(self.config, self.dtype, self._precision, parent=None)

    @property
    def _text(self):
        return TextTower(self.config, self.dtype, self._precision, parent=None)

    @property
    def block_options(self) -> dict[str, Any]:
        """Returns options for a further `Block`, by its field names."""
        return {"dtype": self.dtype, "precision": self._precision, "attention": self.attention}

    @property
    def _precision(self):
        # Products of bfloat16 are exact in float32; further passes would change nothing.
        return self.precision if self.dtype == jnp.float32 else "default"

    def text_layers(self, frozen: Frozen) -> Layers:
        """Returns the layers of the text tower."""
        return self._layers(self._text, frozen["text"], self.config.text_layers)

    def _layers(self, tower, params, number):
        block = tower.make_block(parent=None, split_over=self._split_over, attention=self.attention)
        return Layers(block, params, number, self.scan_layers)

    @property
    def _split_over(self):
        return self.mesh if self.shard_frozen else None

    def _run(self, tower, params, step, *args):
        # The table of token embeddings stays split: few of its rows are looked up.
        few = {name: x for name, x in params.items() if not name.startswith(("block", "token"))}
        params = params | replicate(self._split_over, few)
        return tower.apply({"params": params}, *args, method=step)

"""The tower of a ViT without text: DINO's, and `ViTModel` of transformers."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from prompt_jax.clip.blocks import Block, layer_norm
from prompt_jax.clip.image import PatchEmbedding
from prompt_jax.clip.layers import Layer, Layers
from prompt_jax.errors import PromptError

Frozen = dict[str, Any]
"""{"image": float32 arrays}, named as those of a CLIP's image tower."""


Normalization = tuple[tuple[float, ...], tuple[float, ...]]
"""The mean and the standard deviation of each channel."""


@dataclasses.dataclass(frozen=True)
class ViTConfig:
    """The architecture of a ViT.

    Attributes:
        image_size, patch_size: in pixels.
        width, layers, heads, mlp: sizes of the blocks.
        epsilon: of all LayerNorms.
    """

    image_size: int
    patch_size: int
    width: int
    layers: int
    heads: int
    mlp: int
    epsilon: float

    def __post_init__(self) -> None:
        if self.image_size % self.patch_size:
            raise PromptError(
                f"image_size={self.image_size} is not a multiple of patch_size={self.patch_size}"
            )
        if self.width % self.heads:
            raise PromptError(f"width={self.width} is not divisible by heads={self.heads}")

    @property
    def patches(self) -> int:
        """Returns the number of patches, without the class token."""
        return (self.image_size // self.patch_size) ** 2


@dataclasses.dataclass(frozen=True)
class ViT:
    """A ViT without its parameters; hashable, usable as a static argument of `jit`.

    Unlike CLIP's image tower it has a bias in the patch embedding, exact GELU, no LayerNorm before
    the first block and no projection.

    Attributes:
        config: the architecture.
        dtype, precision, scan_layers: see `CLIP`.
        given, wanted: how the images are normalized, and how the tower wants them; None: the same.
    """

    config: ViTConfig
    dtype: jnp.dtype = jnp.dtype("float32")
    precision: str = "highest"
    scan_layers: bool = False
    given: Normalization | None = None
    wanted: Normalization | None = None

    def encode_image(self, frozen: Frozen, images: jax.Array) -> jax.Array:
        """Computes features float32[B, D] of images float[B, H, W, 3]: the normed class token.

        Source: DINO (Caron et al., ICCV 2021), its released `vision_transformer.py`.
        """
        c, params = self.config, frozen["image"]
        options: dict[str, Any] = {"dtype": self.dtype, "precision": self.precision, "parent": None}
        embedding = PatchEmbedding(c.width, c.patch_size, use_bias=True, **options)
        patches: Any = embedding.apply(
            {"params": params["patch_embedding"]}, self._renormalize(images)
        )
        class_token = jnp.broadcast_to(params["class_embedding"], (len(patches), 1, c.width))
        tokens = jnp.concatenate([class_token, patches], axis=-2) + params["position_embedding"]
        block = Block(c.width, c.heads, c.mlp, "gelu", c.layers, epsilon=c.epsilon, **options)

        def step(layer: Layer, x: jax.Array, _: None) -> tuple[jax.Array, None]:
            queries = 1 if layer.last else None  # only the class token is read
            return layer.look(x[:, :queries], *layer.key_value(x)), None

        layers = Layers(block, params, c.layers, self.scan_layers)
        tokens, _ = layers.run(step, tokens.astype(jnp.float32), [None] * c.layers)
        norm = layer_norm(jnp.float32, c.epsilon)
        features: Any = norm.apply({"params": params["ln_post"]}, tokens[:, 0])
        return features

    def _renormalize(self, images: jax.Array) -> jax.Array:
        if self.given is None or self.wanted is None or self.given == self.wanted:
            return images
        (mean, std), (own_mean, own_std) = (
            map(_channels, one) for one in (self.given, self.wanted)
        )
        return (images * std + mean - own_mean) / own_std


def _channels(values: Sequence[float]) -> jax.Array:
    return jnp.asarray(values, jnp.float32)

"""The image tower as a sequence of steps: embed, block l, head. Independent of the methods."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from prompt_jax.clip.blocks import Block, head_projection, layer_norm
from prompt_jax.clip.config import CLIPConfig


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
    """A bias-free convolution with stride = kernel size, computed as one matrix product."""

    width: int
    patch: int
    dtype: jnp.dtype
    precision: str = "highest"

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
        return jnp.matmul(patches, kernel, precision=self.precision)

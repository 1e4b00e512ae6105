"""A frozen ViT without text, such as DINO's, as a second backbone beside CLIP."""

from prompt_jax.vit.tower import ViT, ViTConfig

__all__ = ["ViT", "ViTConfig"]

"""Frozen CLIP backbones: towers, checkpoints, tokenizer. Independent of the methods."""

from prompt_jax.clip.config import VARIANTS, CLIPConfig
from prompt_jax.clip.model import CLIP, PRECISIONS, Frozen, normalize

__all__ = ["CLIP", "PRECISIONS", "VARIANTS", "CLIPConfig", "Frozen", "normalize"]

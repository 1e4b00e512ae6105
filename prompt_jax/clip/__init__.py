"""Frozen CLIP backbones: towers, checkpoints, tokenizer. Independent of the methods."""

from prompt_jax.clip.blocks import normalize
from prompt_jax.clip.config import VARIANTS, CLIPConfig
from prompt_jax.clip.model import CLIP, PRECISIONS, Frozen

__all__ = ["CLIP", "PRECISIONS", "VARIANTS", "CLIPConfig", "Frozen", "normalize"]

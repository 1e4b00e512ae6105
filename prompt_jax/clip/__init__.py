"""The frozen backbone: towers, checkpoints, tokenizer. Knows no method."""

from prompt_jax.clip.config import VARIANTS, CLIPConfig
from prompt_jax.clip.model import CLIP, PRECISIONS, Frozen, normalize

__all__ = ["CLIP", "PRECISIONS", "VARIANTS", "CLIPConfig", "Frozen", "normalize"]

"""Frozen CLIP on videos and texts, without training."""

from prompt_jax.export.torch_parts.encoders import Encoders

load = Encoders.load

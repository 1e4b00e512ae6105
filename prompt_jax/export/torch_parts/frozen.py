"""Frozen CLIP on videos and texts, nothing trained."""

from prompt_jax.export.torch_parts.encoders import Encoders

load = Encoders.load

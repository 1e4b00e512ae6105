"""Frozen CLIP on clips and texts, nothing trained."""

from prompt_jax.export.torch_parts.encoders import Encoders

load = Encoders.load

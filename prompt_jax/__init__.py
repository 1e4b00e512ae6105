"""Prompt tuning of frozen CLIP in JAX and Flax."""

"""Exports trained models to PyTorch, ONNX and StableHLO: `python -m prompt_jax.export`.

`writing` writes the export directory, `source` assembles its model.py from `torch_parts`.
docs/export.md describes how to use it.
"""

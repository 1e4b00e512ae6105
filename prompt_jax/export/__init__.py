"""A trained model leaves for PyTorch, ONNX or StableHLO: `python -m prompt_jax.export`.

`__main__` is the command, `writing` puts the folder together, `source` the one file of PyTorch in
it, of what lies in `torch_parts`. docs/export.md says how the folder is used.
"""

"""PyTorch source files from which an exported model.py is assembled.

The imports of a part decide which other parts are included. A method's part has the method's name
and ends with `load = …`. prompt_jax reads these files as text; the benchmark and tests import them.
"""

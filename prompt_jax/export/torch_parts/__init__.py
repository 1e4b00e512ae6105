"""What an exported model.py is put together from: PyTorch source files, read as text.

A part imports the parts that it needs, and so says what comes with it. A method's part has the
method's name and ends with `load`. prompt_jax imports nothing of it; the benchmark and tests do.
"""

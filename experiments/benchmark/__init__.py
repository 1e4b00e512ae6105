"""Benchmarks this library against conventional PyTorch code: `python -m experiments.benchmark`."""

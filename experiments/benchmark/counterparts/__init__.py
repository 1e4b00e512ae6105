"""Runs conventional PyTorch code for the benchmark."""

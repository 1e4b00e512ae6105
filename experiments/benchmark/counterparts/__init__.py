"""The side of the benchmark that runs conventional PyTorch code."""

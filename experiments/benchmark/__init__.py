"""How fast, beside PyTorch code written the conventional way: `python -m experiments.benchmark`."""

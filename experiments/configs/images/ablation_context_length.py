"""ProMPT with b = 4 to 16 text prompts (Figure 8b); the words need four.

    python -m experiments.main --config=experiments/configs/images/ablation_context_length.py \\
        --config.data.root=/data --config.data.names=caltech101,dtd
"""

from experiments.configs.images import protocol


def get_config():
    """Returns the base-to-novel config with the variants of the ablation."""
    variants = {f"b={b}": {"context_length": b} for b in (4, 5, 6, 8, 12, 16)}
    return protocol.get_ablation("context_length", variants)

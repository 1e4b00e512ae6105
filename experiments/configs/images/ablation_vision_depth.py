"""ProMPT with vision prompts in the first J = 1 to 12 layers (Figure 8c).

    python -m experiments.main --config=experiments/configs/images/ablation_vision_depth.py \\
        --config.data.root=/data --config.data.names=caltech101,dtd
"""

from experiments.configs.images import protocol


def get_config():
    """Returns the base-to-novel config with the variants of the ablation."""
    variants = {f"J={j}": {"vision_depth": j} for j in (1, 3, 6, 9, 12)}
    return protocol.get_ablation("vision_depth", variants)

"""ProMPT with the loss weight λ = 0 to 1 of earlier iterations (Figure 8d).

    python -m experiments.main --config=experiments/configs/images/ablation_loss_decay.py \\
        --config.data.root=/data --config.data.names=caltech101,dtd
"""

from experiments.configs.images import protocol


def get_config():
    """Returns the base-to-novel config with the variants of the ablation."""
    variants = {f"lambda={x}": {"loss_decay": x} for x in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)}
    return protocol.get_ablation("loss_decay", variants)

"""ProMPT with N = 0 to 4 iterations (Table 4).

    python -m experiments.main --config=experiments/configs/images/ablation_iterations.py \\
        --config.data.root=/data --config.data.names=caltech101,dtd
"""

from experiments.configs.images import protocol


def get_config():
    """Returns the base-to-novel config with the variants of the ablation."""
    variants = {f"N={n}": {"iterations": n} for n in range(5)}
    return protocol.get_ablation("iterations", variants)

"""ProMPT without its iterations, generators or filter (Table 5).

    python -m experiments.main --config=experiments/configs/images/ablation_components.py \\
        --config.data.root=/data --config.data.names=caltech101,dtd
"""

from experiments.configs.images import protocol


def get_config():
    """Returns the base-to-novel config with the variants of the ablation."""
    variants: dict[str, dict[str, int]] = {
        "full": {},
        "-Iter": {"iterations": 0},
        "-G^V": {"vision_generator": False},
        "-G^T": {"text_generator": False},
        "-G": {"vision_generator": False, "text_generator": False},
        "-F": {"feature_filter": False},
    }
    return protocol.get_ablation("components", variants)

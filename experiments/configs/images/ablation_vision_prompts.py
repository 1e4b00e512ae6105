"""ProMPT with a = 1 to 16 vision prompts (Figure 8a).

    python -m experiments.main --config=experiments/configs/images/ablation_vision_prompts.py \\
        --config.data.root=/data --config.data.names=caltech101,dtd
"""

from experiments.configs.images import protocol


def get_config():
    """Returns the base-to-novel config with the variants of the ablation."""
    variants = {f"a={a}": {"vision_prompts": a} for a in (1, 2, 4, 8, 12, 16)}
    return protocol.get_ablation("vision_prompts", variants)

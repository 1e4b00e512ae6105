"""VoP with prompts in the first K = 1 to 12 layers of both towers (VoP, section 4.3).

    python -m experiments.main --config=experiments/configs/video/ablation_depth.py \\
        --config.data.name=msrvtt_9k --config.data.root=/data --config.backbone=ViT-B/32

Published, MSR-VTT-9k, t2v R@1: 12 layers 39.6; deeper is better.
"""

from experiments.configs.video import retrieval


def get_config():
    """Returns the paper's settings with the variants of the ablation."""
    variants = {f"K={depth}": {"depth": depth} for depth in (1, 3, 6, 9, 12)}
    return retrieval.get_ablation("depth", "vop", variants)

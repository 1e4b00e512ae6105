"""VoP with prompts in neither tower, in one, or in both (VoP, Table 2).

    python -m experiments.main --config=experiments/configs/video/ablation_towers.py \\
        --config.data.name=msrvtt_9k --config.data.root=/data --config.backbone=ViT-B/32

Published, MSR-VTT-9k, t2v R@1: neither 31.5, vision 36.5, text 36.3, both 39.6.
"""

from experiments.configs.video import retrieval


def get_config():
    """Returns the paper's settings with the variants of the ablation."""
    variants = {
        "vision": {"text_prompts": 0},
        "text": {"vision_prompts": 0},
        "both": {},
    }
    return retrieval.get_ablation("towers", "vop", variants)

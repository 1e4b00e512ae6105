"""VoP^F with 0 to 12 layers that attend within each frame (VoP, section 4.3).

    python -m experiments.main --config=experiments/configs/video/ablation_frame_layers.py \\
        --config.data.name=msrvtt_9k --config.data.root=/data --config.backbone=ViT-B/32

Published, MSR-VTT-9k, t2v R@1: 42.6 at 8 layers, the best; collapses at 0.
"""

from experiments.configs.video import retrieval


def get_config():
    """Returns the paper's settings with the variants of the ablation."""
    variants = {f"L_s={layers}": {"per_frame_layers": layers} for layers in (0, 2, 4, 6, 8, 10, 12)}
    return retrieval.get_ablation("frame_layers", "vop_f", variants)

"""VoP^F with 0 to 12 layers that see each frame by itself (VoP, section 4.3).

    python -m experiments.main --config=experiments/configs/video/ablation_frame_layers.py \\
        --config.data.name=msrvtt_9k --config.data.root=/data --config.backbone=ViT-B/32

Published, MSR-VTT-9k, t2v R@1: best at 8, and 0 collapses; 42.6 at 8.
"""

from experiments.configs.video import retrieval


def get_config():
    """The paper's settings, but for what the ablation varies."""
    variants = {f"L_s={layers}": {"per_frame_layers": layers} for layers in (0, 2, 4, 6, 8, 10, 12)}
    return retrieval.get_ablation("frame_layers", "vop_f", variants)

"""VoP^C with other context modules, and with class tokens updated (VoP, section 4.3).

    python -m experiments.main --config=experiments/configs/video/ablation_context.py \\
        --config.data.name=msrvtt_9k --config.data.root=/data --config.backbone=ViT-B/32

Published, MSR-VTT-9k, t2v R@1: transformer 40.1, LSTM 40.6, BiLSTM 40.8, class tokens 38.0.
"""

from experiments.configs.video import retrieval


def get_config():
    """Returns the paper's settings with the variants of the ablation."""
    variants = {
        "transformer": {"context_module": "transformer"},
        "LSTM": {"context_module": "lstm"},
        "BiLSTM": {},
        "class tokens": {"context_role": "class_tokens"},
    }
    return retrieval.get_ablation("context", "vop_c", variants)

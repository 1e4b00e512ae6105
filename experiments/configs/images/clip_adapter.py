"""CLIP-Adapter (IJCV 2024): a bottleneck behind the image tower, batch 32, Adam 1e-5.

    python -m experiments.main --config=experiments/configs/images/clip_adapter.py \\
        --workdir=results/clip

Its authors publish few-shot curves on ResNet-50, and nothing in base-to-novel.
"""

from experiments.configs import default


def get_config(protocol: str = "base_to_novel"):
    """Rate and batch as published; the epochs are CoOp's for 16 shots, as is the schedule."""
    c = default.get_config("clip_adapter")
    c.protocol = protocol
    c.batch_size = 32
    c.optimizer = "adamw"
    c.weight_decay = 0.0  # which is Adam
    c.learning_rate = 1e-5
    c.epochs = 200
    return c

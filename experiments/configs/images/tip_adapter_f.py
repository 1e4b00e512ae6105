"""Tip-Adapter-F (ECCV 2022): Tip-Adapter whose keys train, AdamW 1e-3, batch 256, 20 epochs.

    python -m experiments.main --config=experiments/configs/images/tip_adapter_f.py \\
        --workdir=results/tip_f

Its authors publish few-shot curves, and nothing in base-to-novel. Their code keeps the epoch that
is best on the test images; this keeps the last.
"""

from experiments.configs import default


def get_config(protocol: str = "base_to_novel"):
    """The published optimizer. The keys train on the ten views that made them."""
    c = default.get_config("tip_adapter_f")
    c.protocol = protocol
    c.cached_views = 10
    c.batch_size = 256
    c.optimizer = "adamw"
    c.adam_epsilon = 1e-4
    c.weight_decay = 0.01
    c.schedule = "cosine"
    c.learning_rate = 0.001
    c.epochs = 20
    return c

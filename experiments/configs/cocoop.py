"""CoCoOp (CVPR 2022), base-to-novel: 4 context vectors from "a photo of a", batch 1, 10 epochs.

    python -m experiments.main --config=experiments/configs/cocoop.py --workdir=results/cocoop

Published, ViT-B/16, average of 11 data sets: base 80.47, new 71.69, H 75.83.
"""

from experiments.configs import default


def get_config():
    """The published settings."""
    c = default.get_config("cocoop")
    c.batch_size = 1
    c.learning_rate = 0.002
    c.epochs = 10
    return c

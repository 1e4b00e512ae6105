"""KgCoOp (CVPR 2023), base-to-novel: CoOp with M = 4, text held close to zero-shot, 100 epochs.

    python -m experiments.main --config=experiments/configs/images/kgcoop.py \\
        --workdir=results/kgcoop

Published, ViT-B/16, average of 11 data sets: base 80.73, new 73.60, H 77.00.
"""

from experiments.configs import default


def get_config(protocol: str = "base_to_novel"):
    """The published settings; the same in every protocol."""
    c = default.get_config("kgcoop")
    c.protocol = protocol
    c.batch_size = 128
    c.learning_rate = 0.002
    c.epochs = 100
    return c

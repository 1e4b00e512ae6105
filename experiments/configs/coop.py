"""CoOp (IJCV 2022) in base-to-novel: 4 context vectors from "a photo of a", batch 32, SGD 0.002.

    python -m experiments.main --config=experiments/configs/coop.py --workdir=results/coop

Published, ViT-B/16, average of 11 data sets: base 82.69, new 63.22, H 71.66.
"""

from experiments.configs import default


def get_config():
    """The settings that the base-to-novel comparison uses: 200 epochs for 16 shots."""
    c = default.get_config("coop", context_length=4, context_words="a photo of a")
    c.batch_size = 32
    c.learning_rate = 0.002
    c.epochs = 200
    return c

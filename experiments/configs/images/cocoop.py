"""CoCoOp (CVPR 2022): 4 context vectors from "a photo of a", SGD 0.002, batch 1, 10 epochs.

    python -m experiments.main --config=experiments/configs/images/cocoop.py \\
        --workdir=results/cocoop

Other protocols, with the same settings: --config=experiments/configs/images/cocoop.py:cross_dataset
(or domain_generalization, few_shot).

Published, ViT-B/16. base_to_novel, average of 11 data sets: base 80.47, new 71.69, H 75.83.
cross_dataset: ImageNet 71.02, ten other data sets 65.74. domain_generalization: 59.91.
"""

from experiments.configs import default


def get_config(protocol: str = "base_to_novel"):
    """The published settings, the same in every protocol."""
    c = default.get_config("cocoop")
    c.protocol = protocol
    c.batch_size = 1
    c.learning_rate = 0.002
    c.epochs = 10
    return c

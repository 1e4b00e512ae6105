"""CoCoOp (CVPR 2022): 4 context vectors from "a photo of a", SGD 0.002, batch 1, 10 epochs.

    python -m experiments.main --config=experiments/configs/images/cocoop.py \\
        --workdir=results/cocoop

Other protocols, with the same settings: --config=experiments/configs/images/cocoop.py:cross_dataset
(or domain_generalization, few_shot).

Published, ViT-B/16. base_to_novel, average of 11 data sets: base 80.47, new 71.69, H 75.83.
cross_dataset: ImageNet 71.02, ten other data sets 65.74. domain_generalization: 59.91.
"""

from experiments.configs import recipes

get_config = recipes.of("cocoop")

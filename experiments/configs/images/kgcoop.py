"""KgCoOp (CVPR 2023), base-to-novel: CoOp with M = 4, text features near zero-shot, 100 epochs.

    python -m experiments.main --config=experiments/configs/images/kgcoop.py \\
        --workdir=results/kgcoop

Published, ViT-B/16, average of 11 data sets: base 80.73, new 73.60, H 77.00.
"""

from experiments.configs import recipes

get_config = recipes.of("kgcoop")

"""IVLP: 2 text and 2 vision prompts in 12 layers, SGD 0.0035, batch 4, 5 epochs (MaPLe's code).

    python -m experiments.main --config=experiments/configs/images/ivlp.py --workdir=results/ivlp

Other protocols, with the same settings: --config=experiments/configs/images/ivlp.py:cross_dataset
(or domain_generalization, few_shot).

Published, ViT-B/16. base_to_novel, average of 11 data sets (README of MaPLe's code): base 82.15,
new 74.07, H 77.90.
"""

from experiments.configs import recipes

get_config = recipes.of("ivlp")

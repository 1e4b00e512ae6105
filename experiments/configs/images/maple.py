"""MaPLe (CVPR 2023): 2 prompts per layer in both towers, SGD, batch 4.

    python -m experiments.main --config=experiments/configs/images/maple.py --workdir=results/maple

Other protocols: --config=experiments/configs/images/maple.py:cross_dataset (or
domain_generalization, few_shot; few_shot has the settings of base_to_novel).

base_to_novel: 9 layers, learning rate 0.0035, 5 epochs. Published, ViT-B/16, average of 11 data
sets: base 82.28, new 75.14, H 78.55.
cross_dataset, domain_generalization: 3 layers, learning rate 0.0026, 2 epochs on ImageNet.
"""

from experiments.configs import recipes

get_config = recipes.of("maple")

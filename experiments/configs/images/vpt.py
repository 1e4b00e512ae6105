"""VPT-deep: 8 vision prompts in 12 layers, SGD 0.0025, batch 4, 5 epochs, as in MaPLe's code.

    python -m experiments.main --config=experiments/configs/images/vpt.py --workdir=results/vpt

VPT-shallow, with prompts only in the first layer: --config.settings.vision_depth=1.

Other protocols, with the same settings: --config=experiments/configs/images/vpt.py:cross_dataset
(or domain_generalization, few_shot).

Published, ViT-B/16. base_to_novel, average of 11 data sets: base 80.24, new 73.43, H 76.68.
"""

from experiments.configs import recipes

get_config = recipes.of("vpt")

"""Zero-shot CLIP with the template of the data set, without training.

    python -m experiments.main --config=experiments/configs/images/zero_shot.py \\
        --workdir=results/zero_shot

Other protocols: --config=experiments/configs/images/zero_shot.py:cross_dataset (or
domain_generalization, few_shot).

Published, ViT-B/16. base_to_novel, average of 11 data sets: base 69.34, new 74.22, H 71.70.
domain_generalization: 57.18.
"""

from experiments.configs import recipes

get_config = recipes.of("zero_shot")

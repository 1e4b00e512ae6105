"""GOPro (BMVC 2023): 4 context vectors from "a photo of a", SGD 0.002, batch 4, 50 epochs.

    python -m experiments.main --config=experiments/configs/images/gopro.py \\
        --workdir=results/gopro

Other protocols, with the same settings: --config=experiments/configs/images/gopro.py:cross_dataset
(or domain_generalization, few_shot). A step encodes every class for three views of each image.

Published, ViT-B/16, of the best epoch on the test set, so ours cannot be compared with them.
base_to_novel, average of 11 data sets: base 84.21, new 77.32, H 80.62. cross_dataset: ImageNet
73.27, ten other data sets 67.86.
"""

from experiments.configs import recipes

get_config = recipes.of("gopro")

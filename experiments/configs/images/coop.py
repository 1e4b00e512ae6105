"""CoOp (IJCV 2022): context vectors around the class name, SGD 0.002, batch 32.

    python -m experiments.main --config=experiments/configs/images/coop.py --workdir=results/coop

Other protocols: --config=experiments/configs/images/coop.py:few_shot (or cross_dataset,
domain_generalization).

base_to_novel: 4 vectors from "a photo of a", 200 epochs. Published, ViT-B/16, average of 11 data
sets: base 82.69, new 63.22, H 71.66.
few_shot: 16 random vectors, 50, 100 or 200 epochs for 1, up to 4, or more shots (on ImageNet 50:
--config.epochs=50). --config.settings.class_specific=True gives each
class its own context, --config.settings.name_position=middle (or front) moves the name.
cross_dataset, domain_generalization: 4 vectors from "a photo of a", 50 epochs on ImageNet.
Published: ImageNet 71.51, ten other data sets 63.88, four other ImageNets 59.28.
"""

from experiments.configs import recipes

get_config = recipes.of("coop")

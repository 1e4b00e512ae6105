"""ProMPT (ICMR 2024, section 4.1): 16 shots, SGD, batch 4.

    python -m experiments.main --config=experiments/configs/images/pro_mpt.py \\
        --workdir=results/pro_mpt

Other protocols: --config=experiments/configs/images/pro_mpt.py:cross_dataset (or
domain_generalization, few_shot; few_shot has the settings of base_to_novel, the paper has none).

base_to_novel: learning rate 0.008, 5 epochs. Published, ViT-B/16, average of 11 data sets:
base 80.94, new 74.89, H 77.80.
cross_dataset, domain_generalization: vision prompts in 3 layers, learning rate 0.0024, 2 epochs on
ImageNet. Published: ImageNet 70.47, ten other data sets 66.25, four other ImageNets 60.25.

On the embedded backbone and scenes (the default) a run takes about half a minute on two cores.
"""

from experiments.configs import recipes

get_config = recipes.of("pro_mpt")

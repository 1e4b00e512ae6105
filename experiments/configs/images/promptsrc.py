"""PromptSRC (ICCV 2023), base-to-novel: 4 + 4 prompts in 9 layers, batch 4, SGD 0.0025, 20 epochs.

    python -m experiments.main --config=experiments/configs/images/promptsrc.py \\
        --workdir=results/promptsrc

Published, ViT-B/16, average of 11 data sets: base 84.26, new 76.10, H 79.97.
"""

from experiments.configs import default


def get_config(protocol: str = "base_to_novel"):
    """The settings of the published configuration files.

    For few shots these are the ones of ImageNet, Caltech101, OxfordPets, Food101, UCF101 and
    SUN397; the other data sets have average_mean = 45 and average_std = 5.
    """
    c = default.get_config("promptsrc")
    c.protocol = protocol
    c.batch_size = 4
    c.learning_rate = 0.0025
    c.epochs = 20
    if protocol in ("cross_dataset", "domain_generalization"):
        c.settings.depth = 3
        c.settings.average_mean = 6.0
        c.settings.average_std = 10.0
    elif protocol == "few_shot":
        c.epochs = 50
        c.settings.average_mean = 30.0
        c.settings.average_std = 30.0
    return c

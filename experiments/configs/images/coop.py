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

from experiments.configs import default


def get_config(protocol: str = "base_to_novel"):
    """The published settings of a protocol."""
    if protocol == "few_shot":
        c = default.get_config("coop")
        c.epochs_by_shots = ((1, 50), (4, 100), (16, 200))
    else:
        c = default.get_config("coop", context_length=4, context_words="a photo of a")
    c.protocol = protocol
    c.batch_size = 32
    c.learning_rate = 0.002
    c.epochs = {"base_to_novel": 200, "few_shot": 0}.get(protocol, 50)
    return c

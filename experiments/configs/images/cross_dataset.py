"""Training on ImageNet, tests on ten other data sets, three seeds (ProMPT, Table 2).

    python -m experiments.main --config=experiments/configs/images/cross_dataset.py \\
        --config.data.root=/data --config.backbone=ViT-B/16

Targets that are added later are tested with the trained prompts, without further training.
"""

from experiments.configs.images import protocol


def get_config(method: str = "pro_mpt"):
    """Returns the method's published settings for this protocol."""
    c = protocol.get_config("cross_dataset", method)
    c.data.name = "imagenet"
    c.data.names = protocol.NAMES.removeprefix("imagenet,")
    return c

"""Training on ImageNet, tests on its four shifted variants, three seeds (ProMPT, Table 3).

    python -m experiments.main --config=experiments/configs/images/domain_generalization.py \\
        --config.data.root=/data

With your own images, one directory per domain:

    … --config.data.name=folder --config.data.domain=photo --config.data.names=folder:sketch
"""

from experiments.configs.images import protocol


def get_config(method: str = "pro_mpt"):
    """Returns the method's published settings for this protocol."""
    c = protocol.get_config("domain_generalization", method)
    c.data.name = "imagenet"
    c.data.names = "imagenetv2,imagenet_sketch,imagenet_a,imagenet_r"
    return c

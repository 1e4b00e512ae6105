"""Training on all images of a data set without their labels, tested on all classes, three seeds.

python -m experiments.main --config=experiments/configs/images/unlabeled.py:nola \\
    --config.data.root=/data --config.backbone=ViT-B/16 \\
    --config.second_backbone=dino_vitbase16_pretrain.pth --config.texts=sentences.json

The class names are known, and no label is read. `nola` (arXiv 2411.19346) reports 3.6 points over
LaFTer and 11.91 over zero-shot CLIP on average over the 11 data sets, without figures of each.
"""

from experiments.configs.images import protocol


def get_config(method: str = "nola"):
    """Returns the method's published settings."""
    c = protocol.get_config("unlabeled", method)
    c.data.names = protocol.NAMES
    return c

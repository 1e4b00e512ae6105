"""Base-to-novel action recognition on four data sets, three draws of 16 (ViLT-CLIP, Table 4).

python -m experiments.main --config=experiments/configs/video/base_to_novel.py:vilt_clip \\
    --config.data.root=/data --config.backbone=ViT-B/16
… --config=experiments/configs/video/base_to_novel.py:vifi_clip --config.data.names=hmdb51
"""

from experiments.configs.video import protocol


def get_config(method: str = "vilt_clip"):
    """Returns the method's published settings; the seed selects the draw."""
    c = protocol.get_config("base_to_novel", method)
    c.data.names = "kinetics400,hmdb51,ucf101_clips,ssv2"
    c.seeds = protocol.SEEDS
    return c

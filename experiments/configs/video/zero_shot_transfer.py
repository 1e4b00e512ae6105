"""Train on one data set, test on other actions as they are (ViLT-CLIP, Table 3).

python -m experiments.main --config=experiments/configs/video/zero_shot_transfer.py:vilt_clip \\
    --config.data.root=/data --config.backbone=ViT-B/16

Of a target all lists of test videos are tested: val1 to val3 of HMDB-51 and UCF-101, the three
splits of Kinetics-600, of 160 classes each. The published figure is their mean, and their spread.
"""

from experiments.configs.video import protocol


def get_config(method: str = "vilt_clip"):
    """The method's settings; see `protocol` for which are published."""
    c = protocol.get_config("zero_shot_transfer", method)
    c.data.name = "kinetics400"
    c.data.names = "hmdb51,ucf101_clips,kinetics600"
    return c

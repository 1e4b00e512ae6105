"""Training on one data set, zero-shot tests on others (ViLT-CLIP, Table 3).

python -m experiments.main --config=experiments/configs/video/zero_shot_transfer.py:vilt_clip \\
    --config.data.root=/data --config.backbone=ViT-B/16

All test lists of a target are tested: val1 to val3 of HMDB-51 and UCF-101, and the three splits of
Kinetics-600 with 160 classes each. The published figures are their mean and spread.
"""

from experiments.configs.video import protocol


def get_config(method: str = "vilt_clip"):
    """Returns the method's settings; see `protocol` for their sources."""
    c = protocol.get_config("zero_shot_transfer", method)
    c.data.name = "kinetics400"
    c.data.names = "hmdb51,ucf101_clips,kinetics600"
    return c

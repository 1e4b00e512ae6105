"""Few-shot action recognition on three data sets, 2 to 16 videos per class (ViLT-CLIP, Table 1).

python -m experiments.main --config=experiments/configs/video/few_shot.py:vilt_clip \\
    --config.data.root=/data --config.backbone=ViT-B/16
… --config=experiments/configs/video/few_shot.py:vifi_clip --config.data.names=hmdb51

ViFi-CLIP's lists have one draw of videos, so they are run with one seed; your own data with three.
"""

from experiments.configs.video import protocol


def get_config(method: str = "vilt_clip"):
    """Returns the method's published settings."""
    c = protocol.get_config("few_shot", method)
    c.data.names = "hmdb51,ucf101_clips,ssv2"
    c.data.shots_list = (2, 4, 8, 16)
    c.seeds_of_own_data = protocol.SEEDS
    return c

"""Action recognition by all training videos, 4 x 3 views in tests (ViLT-CLIP, Tables 2 and 6).

python -m experiments.main --config=experiments/configs/video/supervised.py:vilt_clip \\
    --config.data.root=/data --config.backbone=ViT-B/16

--config.data.name=clip_folder trains on folders of one's own. A step of testing sees twelve times
eval_batch_size videos.
"""

from experiments.configs.video import protocol


def get_config(method: str = "vilt_clip"):
    """The method's settings; see `protocol` for which are published."""
    c = protocol.get_config("supervised", method)
    c.data.name = "kinetics400"
    c.data.crop = "clip"  # each view has three of its own
    c.data.views = 4
    c.eval_batch_size = 4
    return c

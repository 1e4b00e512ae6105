"""Action recognition on all training videos, 4 x 3 test views (ViLT-CLIP, Tables 2 and 6).

python -m experiments.main --config=experiments/configs/video/supervised.py:vilt_clip \\
    --config.data.root=/data --config.backbone=ViT-B/16

--config.data.name=clip_folder trains on your own directories. A test step evaluates twelve views of
each of eval_batch_size videos.
"""

from experiments.configs.video import protocol


def get_config(method: str = "vilt_clip"):
    """Returns the method's settings; see `protocol` for their sources."""
    c = protocol.get_config("supervised", method)
    c.data.name = "kinetics400"
    c.data.crop = "clip"  # each view has its own three crops
    c.data.views = 4
    c.eval_batch_size = 4
    return c

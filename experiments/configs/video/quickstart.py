"""Quickstart for videos: VoP^{F+P} on embedded videos, one seed."""

from ml_collections import ConfigDict

from experiments.configs.video import comparison, retrieval

# Domain, frames and rate are those of the comparison. In the domain "night", zero-shot CLIP
# retrieves half as many videos as in the plain one, which leaves room to improve within minutes.
VIDEOS = 20  # 78 steps of 32 pairs


def get_config() -> ConfigDict:
    """Returns a config that tests on all actions and on videos that differ only in frame order."""
    c = retrieval.get_config("vop_f_p")
    c.data.domain = comparison.DOMAIN
    c.data.also_test = f"emoji_clips:time_{comparison.DOMAIN}"
    c.data.train_per_class = VIDEOS
    c.data.frames = c.settings.frames = comparison.FRAMES
    c.epochs = 1
    c.learning_rate = comparison.RATE
    c.log_every = 5
    c.checkpoint_every = 50
    return c

"""Quickstart for videos: VoP^{F+P} on embedded videos, one seed."""

from ml_collections import ConfigDict

from experiments.configs.video import comparison, retrieval

# Domain, frames and rate are those of the comparison. In the domain "night", zero-shot CLIP
# retrieves half as many videos as in the plain one, which leaves room to improve within minutes.
VIDEOS, FULL_VIDEOS = 10, 20  # 39 and 78 steps of 32 pairs
TEST_VIDEOS = 5  # per action
DROPPED = f"{VIDEOS} training videos per action instead of {FULL_VIDEOS}, and a third of the tests"


def get_config(full: bool = False) -> ConfigDict:
    """Returns a config that tests on all actions and on videos that differ only in frame order.

    Args:
        full: more steps and all test videos, which take minutes; else without what `DROPPED` says.
    """
    c = retrieval.get_config("vop_f_p")
    c.data.domain = comparison.DOMAIN
    c.data.also_test = f"emoji_clips:time_{comparison.DOMAIN}"
    c.data.train_per_class = FULL_VIDEOS if full else VIDEOS
    if not full:
        c.data.test_per_class = TEST_VIDEOS
    c.data.frames = c.settings.frames = comparison.FRAMES
    c.epochs = 1
    c.learning_rate = comparison.RATE
    c.log_every = 5
    c.checkpoint_every = 50
    return c

"""The quickstart of video: VoP^{F+P} on embedded videos, one seed."""

from ml_collections import ConfigDict

from experiments.configs.video import comparison, retrieval

# Look, frames and rate are the comparison's. At night zero-shot CLIP finds half as many as by
# day, so that there is something to learn in few minutes.
VIDEOS = 20  # 78 steps of 32 pairs


def get_config() -> ConfigDict:
    """Trained on all actions; tested on them, and on videos that time alone tells apart."""
    c = retrieval.get_config("vop_f_p")
    c.data.domain = comparison.LOOK
    c.data.also_test = f"emoji_clips:time_{comparison.LOOK}"
    c.data.train_per_class = VIDEOS
    c.data.frames = c.settings.frames = comparison.FRAMES
    c.epochs = 1
    c.learning_rate = comparison.RATE
    c.log_every = 5
    c.checkpoint_every = 50
    return c

"""The quickstart of video: VoP^{F+P} on embedded clips, one seed."""

from ml_collections import ConfigDict

from experiments.configs.video import retrieval

# Fewer clips and epochs than a paper would take: it is to end in minutes on two cores.
FRAMES = 8
CLIPS = 20
EPOCHS = 2


def get_config() -> ConfigDict:
    """Trained on all actions; tested on them, and on clips that time alone tells apart."""
    c = retrieval.get_config("vop_f_p")
    c.data.also_test = "emoji_clips:time"
    c.data.train_per_class = CLIPS
    c.data.frames = c.settings.frames = FRAMES
    c.epochs = EPOCHS
    c.log_every = 5
    return c

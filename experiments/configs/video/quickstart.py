"""The quickstart of video: VoP^{F+P} on embedded clips, one seed."""

from ml_collections import ConfigDict

from experiments.configs.video import comparison, retrieval

# Fewer frames and clips than a paper would take: it is to end in minutes on two cores. Of four
# frames, a clip and its reversal show the same ones. At night zero-shot CLIP finds half as many as by
# day, so that there is something to learn; look and rate are those of the comparison.
FRAMES = 4
CLIPS = 20  # 78 steps of 32 pairs
EPOCHS = 1


def get_config() -> ConfigDict:
    """Trained on all actions; tested on them, and on clips that time alone tells apart."""
    c = retrieval.get_config("vop_f_p")
    c.data.domain = comparison.LOOK
    c.data.also_test = f"emoji_clips:time_{comparison.LOOK}"
    c.data.train_per_class = CLIPS
    c.data.frames = c.settings.frames = FRAMES
    c.epochs = EPOCHS
    c.learning_rate = comparison.RATES["vop_f_p"]
    c.log_every = 5
    c.checkpoint_every = 50
    return c

"""The comparison of retrieval on the embedded stand-in: twelve ways of tuning, and none.

Captions and clips at night, which zero-shot CLIP finds half as well as by day; beside them clips
that time alone tells apart from their reversals.
"""

from ml_collections import ConfigDict

from experiments.configs.video import retrieval

METHODS = tuple(retrieval.RATES)
PROTOCOLS = ("retrieval",)

LOOK = "night"
FRAMES = 4  # of which a clip and its reversal show the same ones


def get_configs() -> list[ConfigDict]:
    """A sweep over three seeds for every method."""
    return [_config(method) for method in METHODS]


def _config(method: str) -> ConfigDict:
    c = retrieval.get_config(method)
    c.data.domain = LOOK
    c.data.also_test = f"emoji_clips:time_{LOOK}"
    c.data.frames = FRAMES
    if "frames" in c.settings:
        c.settings.frames = FRAMES
    c.seeds = retrieval.SEEDS
    c.parallel_seeds = True
    return c

"""Text-video retrieval: VoP, its variants and what it is compared with (CVPR 2023, section 4.1).

    python -m experiments.main --config=experiments/configs/video/retrieval.py:vop_f_p \\
        --config.data.name=msrvtt_9k --config.data.root=/data --config.backbone=ViT-B/32

AdamW, weight decay 0.2 (ViLT-CLIP's forms: 0.001), 5 epochs, batches of 32 pairs, 12 frames;
warm-up over a tenth of all steps, then a cosine (X-Pool). The paper searched each method's rate and
does not say what it found: these are ours, to be searched on validation videos. Published
videos were mirrored at random, which makes "moving left" false: --config.data.flip=True for sets
that the paper reports.
"""

from collections.abc import Mapping
from typing import Any

from experiments.configs import default, recipes

SEEDS = (1, 2, 3)


def get_config(method: str = "vop"):
    """The paper's settings, on the embedded videos until another data set is named."""
    c = recipes.get_config(method, "retrieval", "videos")
    c.data.name = "emoji_clips"
    c.eval_batch_size = 32
    return c


def get_ablation(name: str, method: str, variants: Mapping[str, Mapping[str, Any]]):
    """A method once for every variant, three seeds.

    Args:
        method: whose.
        name, variants: see `default.vary`.
    """
    c = get_config(method)
    c.seeds = SEEDS
    return default.vary(c, name, variants)

"""Text-video retrieval with VoP, its variants and its baselines (CVPR 2023, section 4.1).

    python -m experiments.main --config=experiments/configs/video/retrieval.py:vop_f_p \\
        --config.data.name=msrvtt_9k --config.data.root=/data --config.backbone=ViT-B/32

AdamW, weight decay 0.2 (0.001 for ViLT-CLIP's variants), 5 epochs, batches of 32 pairs, 12 frames;
warm-up over a tenth of all steps, then a cosine (X-Pool). The paper searched a learning rate per
method but does not report them; the rates here are ours and should be searched on validation
videos. The paper mirrored videos at random, which makes captions such as "moving left" false; set
--config.data.flip=True for the paper's data sets.
"""

from collections.abc import Mapping
from typing import Any

from experiments.configs import default, recipes

SEEDS = (1, 2, 3)


def get_config(method: str = "vop"):
    """Returns the paper's settings on the embedded videos."""
    c = recipes.get_config(method, "retrieval", "videos")
    c.data.name = "emoji_clips"
    c.eval_batch_size = 32
    return c


def get_ablation(name: str, method: str, variants: Mapping[str, Mapping[str, Any]]):
    """Returns a sweep over the variants of a method, with three seeds.

    Args:
        method: name of the method.
        name, variants: see `default.vary`.
    """
    c = get_config(method)
    c.seeds = SEEDS
    return default.vary(c, name, variants)

"""Recipes of action recognition, by protocol; not a configuration to run by itself.

Recipes stand in the methods' records. ViLT-CLIP (AAAI 2024) where it says one; ViFi-CLIP's (CVPR
2023) and A5's (ECCV 2022) are their code's. VoP, which tells captions apart, is here trained as
ViLT-CLIP is, with rates of ours.
"""

from ml_collections import ConfigDict

from experiments.configs import recipes
from prompt_jax import methods

SEEDS = (1, 2, 3)
PROTOCOLS = ("few_shot", "base_to_novel", "supervised", "zero_shot_transfer")
METHODS = tuple(name for name, one in methods.RECORDS["videos"].items() if one.recipe("few_shot"))


def get_config(protocol: str, method: str) -> ConfigDict:
    """A method's recipe for a protocol, on the embedded videos until other data is named.

    A method from outside, "module:ENCODERS", has VoP's.

    Raises:
        PromptError: there is no recipe of that method.
    """
    c = recipes.get_config(method, protocol, "videos")
    c.data.name = "emoji_clips"
    c.data.frame_rule = "segment"
    c.data.crop = "vifi"
    c.eval_batch_size = 16
    return c

"""Configs of action recognition by protocol; a helper of the other files, not a config itself.

The recipes are part of the methods' records. They follow the papers or the code of ViLT-CLIP (AAAI
2024), ViFi-CLIP (CVPR 2023) and A5 (ECCV 2022). VoP, a retrieval method, is trained like ViLT-CLIP,
with our learning rates.
"""

from ml_collections import ConfigDict

from experiments.configs import recipes
from prompt_jax import methods

SEEDS = (1, 2, 3)
PROTOCOLS = ("few_shot", "base_to_novel", "supervised", "zero_shot_transfer")
METHODS = tuple(name for name, one in methods.RECORDS["videos"].items() if one.recipe("few_shot"))


def get_config(protocol: str, method: str) -> ConfigDict:
    """Returns a method's recipe for a protocol, on the embedded videos.

    An external method, "module:ENCODERS", gets VoP's recipe.

    Raises:
        PromptError: the method has no recipe for the protocol.
    """
    c = recipes.get_config(method, protocol, "videos")
    c.data.name = "emoji_clips"
    c.data.frame_rule = "segment"
    c.data.crop = "vifi"
    c.eval_batch_size = 16
    return c

"""Published recipes of action recognition, by protocol; not a configuration to run by itself.

ViLT-CLIP (AAAI 2024) where it says one; its few-shot batch, and all of its supervised and
zero-shot training but the frames, are ours. ViFi-CLIP's (CVPR 2023) and A5's (ECCV 2022) are their
code's. VoP, which tells captions apart, is here trained as ViLT-CLIP is, with rates of ours.

All but A5 train with AdamW, weight decay 0.001, betas 0.9 and 0.98; five epochs of warm-up, then a
cosine, by step; on the augmented and mixed videos of ViFi-CLIP. A5 draws other frames, takes 1,100
steps, which are as many epochs of HMDB-51 as are given here, and is tested on five draws of frames,
here on one.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from experiments.configs import default
from prompt_jax.errors import unknown
from prompt_jax.methods.outside import is_outside

SEEDS = (1, 2, 3)
VIEWS_KEPT = 10


class Recipe(NamedTuple):
    """How a method trains.

    Attributes:
        frames: F, in training and tests.
        epochs: passes over the training videos; () of (most shots, epochs) where shots decide.
        batch_size: videos per step.
        learning_rate: the peak.
        settings: of the method, where they are not its defaults.
    """

    frames: int
    epochs: int | tuple[tuple[int, int], ...]
    batch_size: int
    learning_rate: float
    settings: Mapping[str, Any] = MappingProxyType({})


# Sixteen prompts, in ten layers or, of ViFi-CLIP, in nine.
COUPLED = {"prompts": 16, "depth": 10, "coupling_layer": 6}
BOTH = {"text_prompts": 16, "vision_prompts": 16}
TEN = BOTH | {"text_depth": 10, "vision_depth": 10}
NINE = BOTH | {"text_depth": 9, "vision_depth": 9}

FEW_SHOT = Recipe(32, 30, 64, 8e-3)
BASE_TO_NOVEL = Recipe(32, 12, 64, 4e-2)
SUPERVISED = Recipe(16, 30, 256, 8e-3)
TRANSFER = Recipe(32, 10, 256, 8e-3)
VOP_RATE = 1e-3
VOP = ("vop", "vop_p", "vop_c", "vop_f", "vop_f_p", "vop_f_c")

RECIPES: dict[str, dict[str, Recipe]] = {
    "few_shot": {
        "clip_video": FEW_SHOT,  # nothing trains
        "vilt_independent": FEW_SHOT,
        "vilt_multimodal": FEW_SHOT,
        "vilt_clip": FEW_SHOT,
        "vifi_clip": Recipe(32, 50, 64, 2e-6),
        "vifi_vl_prompting": Recipe(32, 50, 64, 8e-3),
        "a5": Recipe(16, ((2, 1100), (4, 366), (8, 183), (16, 92)), 64, 1e-4),
    },
    "base_to_novel": {
        "clip_video": BASE_TO_NOVEL,
        "vilt_independent": BASE_TO_NOVEL._replace(settings=TEN),
        "vilt_multimodal": BASE_TO_NOVEL._replace(settings=COUPLED),
        "vilt_clip": BASE_TO_NOVEL._replace(settings=COUPLED),
        "vifi_clip": Recipe(32, 11, 64, 2e-6),
        "vifi_vl_prompting": Recipe(32, 11, 64, 4e-2, NINE),
        "a5": Recipe(16, 183, 64, 1e-4),
    },
    "supervised": {
        "clip_video": SUPERVISED,
        "vilt_independent": SUPERVISED,
        "vilt_multimodal": SUPERVISED,
        "vilt_clip": SUPERVISED,
        "vifi_clip": Recipe(16, 30, 512, 2.2e-5),  # of one tower: batch 256, rate 8e-6
        "vifi_vl_prompting": SUPERVISED,
        "a5": Recipe(16, 20, 64, 1e-3),
    },
    "zero_shot_transfer": {
        "clip_video": TRANSFER,
        "vilt_independent": TRANSFER,
        "vilt_multimodal": TRANSFER,
        "vilt_clip": TRANSFER,
        "vifi_clip": Recipe(32, 10, 256, 8e-6),
        "vifi_vl_prompting": TRANSFER,
        "a5": Recipe(16, 20, 64, 1e-3),
    },
}
for _recipes in RECIPES.values():
    _recipes |= {
        name: _recipes["vilt_clip"]._replace(learning_rate=VOP_RATE, settings={}) for name in VOP
    }
METHODS = tuple(RECIPES["few_shot"])


def get_config(protocol: str, method: str) -> ConfigDict:
    """A method's recipe for a protocol, on the embedded videos until other data is named.

    A method from outside, "module:ENCODERS", has VoP's.

    Raises:
        PromptError: there is no recipe of that method.
    """
    recipes = RECIPES[protocol]
    if is_outside(method):
        recipes = {**recipes, method: recipes["vop"]}
    if method not in recipes:
        raise unknown("method for classes of videos", method, recipes)
    recipe = recipes[method]
    c = default.get_config(method, kind="videos", **recipe.settings)
    c.protocol = protocol
    c.data.name = "emoji_clips"
    c.data.frames = recipe.frames
    if "frames" in c.settings:
        c.settings.frames = recipe.frames
    c.data.frame_rule = "segment"
    c.data.crop = "vifi"
    c.batch_size = recipe.batch_size
    c.eval_batch_size = 16
    if isinstance(recipe.epochs, int):
        c.epochs = recipe.epochs
    else:
        c.epochs, c.epochs_by_shots = 0, recipe.epochs
    c.optimizer = "adamw"
    c.learning_rate = recipe.learning_rate
    if method == "a5":
        c.schedule = "constant"
        c.weight_decay = 0.01
        c.cached_views = VIEWS_KEPT
        return c
    c.data.augment = "vifi"
    c.data.mix = True
    c.schedule = "vifi"
    c.warmup_epochs = 5
    c.weight_decay = 0.001
    c.adam_betas = (0.9, 0.98)
    return c

"""Settings, recipes and published tables that methods of action recognition share.

ViLT-CLIP (Wang et al., AAAI 2024), ViFi-CLIP (Rasheed et al., CVPR 2023) and A5 (Ju et al., ECCV
2022) classify actions by name; their encoders also work for retrieval.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from prompt_jax.errors import PromptError
from prompt_jax.methods.encoders import VideoSettings
from prompt_jax.methods.method import Prompts, Task
from prompt_jax.methods.recipe import RETRIEVAL as VOP_RETRIEVAL
from prompt_jax.methods.recipe import Recipe
from prompt_jax.methods.record import Published

VILT = "ViLT-CLIP (AAAI 2024)"
PERSON = "a video of a person doing {}."

VILT_CLIP = (
    'Wang et al., "ViLT-CLIP: Video and Language Tuning CLIP with Multimodal Prompt Learning and '
    'Scenario-Guided Optimization", AAAI 2024'
)
VIFI_CLIP = 'Rasheed et al., "Fine-tuned CLIP Models are Efficient Video Learners", CVPR 2023'

_TRAINED = Recipe(
    optimizer="adamw",
    schedule="vifi",
    warmup_epochs=5,
    weight_decay=0.001,
    adam_betas=(0.9, 0.98),
    data={"frames": 32, "augment": "vifi", "mix": True},
)
RECIPES = {
    "few_shot": _TRAINED.but(epochs=30, batch_size=64),
    "base_to_novel": _TRAINED.but(epochs=12, batch_size=64, learning_rate=4e-2),
    "supervised": _TRAINED.but(
        epochs=30, batch_size=256, data={"frames": 16, "augment": "vifi", "mix": True}
    ),
    "zero_shot_transfer": _TRAINED.but(epochs=10, batch_size=256),
}
"""ViLT-CLIP's recipes by protocol, with the augmented and mixed videos of ViFi-CLIP.

The few-shot batch size is ours, and so are supervised training and transfer except for the frames.
"""
RETRIEVAL = VOP_RETRIEVAL.but(learning_rate=8e-3, weight_decay=0.001)
"""ViLT-CLIP's recipe for retrieval; the learning rate is ours."""


@dataclasses.dataclass(frozen=True)
class Settings(VideoSettings):
    """The settings that all of these methods share.

    Attributes:
        pooling, renormalize_video: see `VideoSettings`.
        temperature: τ, the divisor of cosines in logits; 0 for the backbone's own, 1/100 after
            pretraining. ViLT-CLIP's paper gives 0.07, which is CLIP's value before training.
    """

    pooling: str = "mean_then_norm"
    temperature: float = 0.0


def scale(prompts: Prompts, task: Task) -> Float[Array, ""]:
    """Returns 1/τ from the settings, or else from the backbone."""
    del prompts
    temperature = task.settings.temperature
    return jnp.float32(1 / temperature) if temperature else task.scale


def name_alone(settings: Any, template: str) -> str:
    """Returns the text of a class after learned prompts, which replaces the data set's."""
    del settings, template
    return "{}."


def own_template(settings: Any, template: str) -> str:
    """Returns the template of the settings, or else the data set's."""
    return settings.template or template


def check_template(template: str) -> None:
    """Raises PromptError unless a template has exactly one "{}" or is empty."""
    if template and template.count("{}") != 1:
        raise PromptError(
            f'settings.template={template!r} must contain "{{}}" once, for the class name; "" is '
            "the data set's own text"
        )


def table_1(
    hmdb51: tuple[float, ...], ucf101_clips: tuple[float, ...], ssv2: tuple[float, ...]
) -> Published:
    """Returns a method's row of ViLT-CLIP's Table 1: accuracy with 2, 4, 8 and 16 shots."""
    figures = {"hmdb51": hmdb51, "ucf101_clips": ucf101_clips, "ssv2": ssv2}
    return Published("few_shot", figures, f"{VILT}, Table 1")


def table_3(dataset: str, accuracy: float, spread: float) -> Published:
    """Returns a cell of ViLT-CLIP's Table 3: trained on Kinetics-400, the mean of three splits."""
    source = f"{VILT}, Table 3, ± {spread}"
    return Published("zero_shot_transfer", {dataset: (accuracy,)}, source)


def table_4(**halves: tuple[float, float, float]) -> Published:
    """Returns a method's row of ViLT-CLIP's Table 4: base, new and H by data set."""
    return Published("base_to_novel", halves, f"{VILT}, Table 4")


def tables_5_and_7(**ranks: tuple[float, float] | tuple[float, float, float]) -> Published:
    """Returns a method's rows of ViLT-CLIP's Tables 5 and 7: R@1, R@5 and mean rank of captions."""
    figures = {name: (*some[:2], None, *(some[2:] or (None,))) for name, some in ranks.items()}
    return Published("retrieval", figures, f"{VILT}, Tables 5 and 7")

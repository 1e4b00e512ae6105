"""How large a method's settings may be: one list for training, model.json and exported models.

Nothing is imported of this package: exported models hold this file as it is.
"""

from collections.abc import Mapping
from typing import Any

MOST_SETTING = 2**24
"""Of any number; float32 has all whole numbers up to it."""

_LAYERS, _SLOTS = 256, 10_000
MOST_OF = {
    "iterations": 100,  # the images are encoded as often; published: up to 4
    "loss_decay": 10,
    "temperature": 1000,
    "hidden": 2**16,
    "temporal_heads": 1000,
    "frames": 1000,
    "alpha_steps": 10_000,
    "beta_steps": 10_000,
    **dict.fromkeys(("depth", "text_depth", "vision_depth", "coupling_layer"), _LAYERS),
    **dict.fromkeys(("temporal_blocks", "per_frame_layers"), _LAYERS),
    **dict.fromkeys(("context_length", "prompts", "text_prompts", "vision_prompts"), _SLOTS),
    **dict.fromkeys(("prefix_prompts", "postfix_prompts", "video_prompts"), _SLOTS),
    **dict.fromkeys(("context_prompts", "position_prompts"), _SLOTS),
}
"""Of what costs time or memory, by the setting's name."""


def find_beyond(settings: Mapping[str, Any]) -> str:
    """Returns what is said of the first setting that is too large, or no number; "" of none."""
    for name, value in settings.items():
        most = MOST_OF.get(name, MOST_SETTING)
        for each in value if isinstance(value, list | tuple) else [value]:
            if isinstance(each, int | float) and not abs(each) <= most:
                return f"{name}={str(each)[:40]} must be a number, at most {most:,}"
    return ""

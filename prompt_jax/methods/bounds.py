"""Upper bounds of method settings, for training, model.json and exported models.

Imports nothing from this package: exported models contain a copy of this file.
"""

from collections.abc import Mapping
from typing import Any

MOST_SETTING = 2**24
"""The bound of any setting; float32 represents all integers up to it."""

_LAYERS, _SLOTS = 256, 10_000
MOST_OF = {
    "iterations": 100,  # each encodes the images again; published: up to 4
    "loss_decay": 10,
    "temperature": 1000,
    "hidden": 2**16,
    "temporal_heads": 1000,
    "frames": 1000,
    "alpha_steps": 10_000,
    "beta_steps": 10_000,
    **dict.fromkeys(("depth", "text_depth", "vision_depth", "coupling_layer"), _LAYERS),
    **dict.fromkeys(("temporal_blocks", "per_frame_layers", "caption_layers"), _LAYERS),
    **dict.fromkeys(("context_length", "prompts", "text_prompts", "vision_prompts"), _SLOTS),
    **dict.fromkeys(("prefix_prompts", "postfix_prompts", "video_prompts"), _SLOTS),
    **dict.fromkeys(("context_prompts", "position_prompts"), _SLOTS),
}
"""The bounds of settings that cost time or memory."""


def find_beyond(settings: Mapping[str, Any]) -> str:
    """Returns a message about the first setting that is too large or not a number, or ""."""
    for name, value in settings.items():
        most = MOST_OF.get(name, MOST_SETTING)
        for each in value if isinstance(value, list | tuple) else [value]:
            if isinstance(each, int | float) and not abs(each) <= most:
                return f"{name}={str(each)[:40]} must be a number, at most {most:,}"
    return ""

"""Chooses the image preprocessing of a run from its config and its checkpoint's files."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from experiments.config.config import Config
from experiments.config.data import Data
from prompt_jax.clip.checkpoints import preprocessing as checkpoints
from prompt_jax.clip.checkpoints.preprocessing import Declared
from prompt_jax.errors import PromptError
from prompt_jax.inputs.images import preprocessing
from prompt_jax.inputs.images.preprocessing import CLIP, Preprocessing

_SETTING = "--config.data.stats, --config.data.resize, --config.data.interpolation"
VIFI = "imagenet"  # of `data.frame_stats`


def choose(data: Data) -> dict[str, Any]:
    """Returns the fields of a `Preprocessing` that a config sets.

    Raises:
        PromptError: a value is not allowed, or values contradict each other.
    """
    stats: str = data.stats
    if data.on_videos and data.frame_stats == VIFI:
        if stats not in ("", VIFI) or data.mean or data.std:
            raise PromptError(
                f"config.data.frame_stats={data.frame_stats}, and config.data.stats={stats}, mean="
                f"{data.mean}, std={data.std}: both set the statistics of frames; omit "
                "config.data.frame_stats"
            )
        stats = VIFI
    numbers = tuple(data.mean), tuple(data.std)
    try:
        return preprocessing.choose(stats, *numbers, data.resize, data.interpolation)
    except PromptError as error:
        raise PromptError(f"config.data: {error}") from None


def usual(data: Data) -> Preprocessing:
    """Returns the preprocessing of earlier versions, which ignored the checkpoint's files."""
    stats = data.frame_stats if data.on_videos else "clip"
    return Preprocessing(*preprocessing.statistics(stats))


def resolve(config: Config, declared: Declared, image_size: int) -> tuple[Preprocessing, list[str]]:
    """Returns the preprocessing of a run, and notes to print about it.

    Args:
        config: config of the run.
        declared: preprocessing that the backbone's files state.
        image_size: image size of the backbone, in pixels.

    Raises:
        PromptError: see `clip.preprocessing.resolve`.
    """
    try:
        found, notes = checkpoints.resolve(declared, choose(config.data), image_size, _SETTING)
    except PromptError as error:
        raise PromptError(f"{config.backbone}: {error}") from None
    by_vifi = config.data.on_videos and (config.data.crop == "vifi" or config.data.views)
    if by_vifi and set(found.differences(CLIP)) - {"mean", "std"}:
        which = "crop=vifi" if config.data.crop == "vifi" else f"views={config.data.views}"
        notes.append(
            f"config.data.{which}: test videos are resized as in ViFi-CLIP, not as files state"
        )
    return found, notes


def written(found: Preprocessing, data: Data) -> dict[str, Any]:
    """Returns the fields that differ from `usual`, for JSON; see `record.identity.identify`."""
    differing = found.differences(usual(data))
    return {name: [*v] if isinstance(v, tuple) else v for name, v in differing.items()}


def reread(differing: Mapping[str, Any] | None, data: Data) -> Preprocessing:
    """Returns the preprocessing that `written` described; inverts it."""
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in (differing or {}).items()
    }
    return dataclasses.replace(usual(data), **fields)

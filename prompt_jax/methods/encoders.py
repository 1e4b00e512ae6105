"""What a method for clips and texts is: two encoders over a small trainable pytree.

A clip is float[B, F, H, W, 3], F frames in a row. `objectives` makes of any encoders a `Method`:
captions against clips, or class names against clips.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from prompt_jax.clip import CLIP, Frozen, normalize
from prompt_jax.clip.text import Cache
from prompt_jax.errors import PromptError
from prompt_jax.methods import zero_shot
from prompt_jax.methods.method import Prompts, Task, all_train, keep
from prompt_jax.packing import PackedTokens
from prompt_jax.prompts import encode_packed


@dataclasses.dataclass(frozen=True)
class ClipSettings:
    """What all methods for clips and texts can be told.

    Attributes:
        renormalize_video: whether the mean over a clip's normalised frame features is normalised
            again, as X-Pool and CLIP4Clip have it; VoP's released model does not.
    """

    renormalize_video: bool = True

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int | float) and value < 0:
                raise PromptError(f"settings.{field.name}={value} must be at least 0")


def _no_text_prompts(settings):
    del settings
    return 0


def _frozen_scale(prompts, task):
    del prompts
    return task.scale


class Encoders(NamedTuple):
    """Two encoders whose features' products are similarities.

    Attributes:
        Settings: a `ClipSettings` of the method's own, with the published defaults.
        init: (rng, task) -> prompts.
        encode_clips: (prompts, task, clips float[B, F, H, W, 3]) -> float32[B, d].
        encode_texts: (prompts, task, `PackedTokens` of N texts) -> float32[N, d], normalised.
        text_prompts: settings -> how many slots of the text tower prompts take; texts are cut to
            what is left.
        scale: (prompts, task) -> 1/τ, what similarities are multiplied by.
        trains, constrain: see `Method`.
    """

    Settings: type
    init: Callable[[jax.Array, Task], Prompts]
    encode_clips: Callable[[Prompts, Task, jax.Array], jax.Array]
    encode_texts: Callable[[Prompts, Task, PackedTokens], jax.Array]
    text_prompts: Callable[[Any], int] = _no_text_prompts
    scale: Callable[[Prompts, Task], jax.Array] = _frozen_scale
    trains: Callable[[Prompts, Any], Any] = all_train
    constrain: Callable[[Prompts], Prompts] = keep


def pool_frames(features: jax.Array, settings: ClipSettings) -> jax.Array:
    """Clips' features float32[B, d] of their frames', float[B, F, d]: the mean when normalised."""
    mean = jnp.mean(normalize(features), axis=1)
    return normalize(mean) if settings.renormalize_video else mean


def encode_frames(task: Task, frozen: Frozen, clips: jax.Array) -> jax.Array:
    """Clips without prompts, float32[B, d]: every frame by itself."""
    return pool_frames(task.clip.encode_image(frozen, clips), task.settings)


def encode_captions(clip: CLIP, frozen: Frozen, cache: Cache, texts: PackedTokens) -> jax.Array:
    """N texts behind SOS and prompts that stand in `cache`, float32[N, d], normalised."""
    return normalize(encode_packed(clip, frozen, cache, texts))


def encode_clips(prompts, task, clips):
    """Frozen CLIP's mean over the frames."""
    del prompts
    return encode_frames(task, task.frozen, clips)


def encode_texts(prompts, task, texts):
    """Frozen CLIP's texts."""
    del prompts
    return encode_captions(task.clip, task.frozen, task.names.sos, texts)


ZERO_SHOT = Encoders(ClipSettings, zero_shot.init, encode_clips, encode_texts)

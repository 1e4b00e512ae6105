"""What a method for videos and texts is: two encoders over a small trainable pytree.

A video is float[B, F, H, W, 3], F frames in a row. `objectives` makes of any encoders a `Method`:
captions against videos, or class names against videos.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from prompt_jax.clip import CLIP, Frozen, normalize
from prompt_jax.clip.packing import PackedTokens
from prompt_jax.clip.text import Cache
from prompt_jax.errors import PromptError, unknown
from prompt_jax.methods.method import MakeOptimizer, Prompts, Task, all_train, keep
from prompt_jax.prompts import encode_packed

POOLINGS = ("norm_then_mean", "mean_then_norm")


@dataclasses.dataclass(frozen=True)
class VideoSettings:
    """What all methods for videos and texts can be told.

    Attributes:
        pooling: a video's feature, of its frames'. "norm_then_mean": mean of the normalised ones
            (VoP); "mean_then_norm": the mean as they are, normalised (ViFi-CLIP).
        renormalize_video: whether the mean of normalised ones is normalised again, as X-Pool and
            CLIP4Clip have it; VoP's released model does not.
    """

    pooling: str = "norm_then_mean"
    renormalize_video: bool = True

    def __post_init__(self):
        if self.pooling not in POOLINGS:
            raise unknown("settings.pooling", self.pooling, POOLINGS)
        if self.pooling == "mean_then_norm" and not self.renormalize_video:
            raise PromptError(
                "settings.renormalize_video=False, and settings.pooling=mean_then_norm: that mean "
                "is always normalised; leave it at True, or pool by norm_then_mean"
            )
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


def _own_template(settings, template):
    del settings
    return template


def _no_template(settings, template):
    del settings, template


def _no_losses(task, texts, plain):
    del task, texts, plain
    return {}


class Encoders(NamedTuple):
    """Two encoders whose features' products are similarities.

    Attributes:
        Settings: a `VideoSettings` of the method's own, with the published defaults.
        init: (rng, task) -> prompts.
        encode_videos: (prompts, task, videos float[B, F, H, W, 3]) -> float32[B, d]; it may also
            take features, see `input`.
        encode_texts: (prompts, task, `PackedTokens` of N texts) -> float32[N, d], normalised.
        text_prompts: settings -> how many slots of the text tower prompts take; texts are cut to
            what is left.
        scale: (prompts, task) -> 1/τ, what similarities are multiplied by.
        template: (settings, the data set's own) -> the text of a class, "{}" for its name, that
            stands behind the prompts.
        plain_template: (settings, the data set's own) -> the text of a class, written by hand, that
            `losses` compares with; None where it does not. Of a caption it is the caption.
        losses: (task, texts float32[N, d], plain float32[N, d] or None) -> further terms of the
            loss by name, weighted; of encoded texts and of what frozen CLIP says of plain ones.
        input: "videos"; or "frames" where nothing reaches into the image tower: then
            `encode_videos` also takes its features of the frames, float[B, F, d], not normalised.
        trains, optimizer: see `Method`.
    """

    Settings: type
    init: Callable[[jax.Array, Task], Prompts]
    encode_videos: Callable[[Prompts, Task, jax.Array], jax.Array]
    encode_texts: Callable[[Prompts, Task, PackedTokens], jax.Array]
    text_prompts: Callable[[Any], int] = _no_text_prompts
    scale: Callable[[Prompts, Task], jax.Array] = _frozen_scale
    template: Callable[[Any, str], str] = _own_template
    plain_template: Callable[[Any, str], str | None] = _no_template
    losses: Callable[[Task, jax.Array, jax.Array | None], dict[str, jax.Array]] = _no_losses
    input: Literal["videos", "frames"] = "videos"
    trains: Callable[[Prompts, Any], Any] = all_train
    optimizer: MakeOptimizer = keep


def pool_frames(features: jax.Array, settings: VideoSettings) -> jax.Array:
    """Videos' features float32[B, d] of their frames', float[B, F, d]; see `VideoSettings`."""
    if settings.pooling == "mean_then_norm":
        return normalize(jnp.mean(features, axis=1))
    mean = jnp.mean(normalize(features), axis=1)
    return normalize(mean) if settings.renormalize_video else mean


def encode_frames(task: Task, frozen: Frozen, videos: jax.Array) -> jax.Array:
    """Videos without prompts, float32[B, d]: every frame by itself."""
    return pool_frames(task.clip.encode_image(frozen, videos), task.settings)


def look_at_frames(task: Task, videos: jax.Array) -> jax.Array:
    """Frozen CLIP's features of the frames, float[B, F, d]; such features pass as they are."""
    return videos if videos.ndim == 3 else task.clip.encode_image(task.frozen, videos)


def put_behind_sos(task: Task, context: jax.Array, deep_prompts: jax.Array | None = None) -> Cache:
    """Keys and values of SOS and context float[b, d_l] that flows on; see `TextTower.prefill`."""
    sos = task.names.sos
    if sos is not None and not len(context):
        return sos
    return task.clip.prefill(task.frozen, context, deep_prompts, sos)


def encode_behind(task: Task, slots: jax.Array, texts: PackedTokens) -> jax.Array:
    """Texts float32[N, d], normalised, behind SOS and prompts, which are the same for all.

    A text costs its words.

    Args:
        slots: float[layers, b, d_l], the prompts before each of the first layers.
    """
    cache = put_behind_sos(task, slots[0], slots[1:])
    return encode_captions(task.clip, task.frozen, cache, texts)


def encode_captions(clip: CLIP, frozen: Frozen, cache: Cache, texts: PackedTokens) -> jax.Array:
    """N texts behind SOS and prompts that stand in `cache`, float32[N, d], normalised."""
    return normalize(encode_packed(clip, frozen, cache, texts))

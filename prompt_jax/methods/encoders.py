"""Methods of videos and texts: two encoders over a small trainable pytree.

`objectives` makes a `Method` from any encoders, for retrieval of captions or for action
recognition.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from prompt_jax.clip import CLIP, Frozen, normalize
from prompt_jax.clip.packing import PackedTokens
from prompt_jax.clip.text import Cache
from prompt_jax.errors import PromptError, unknown
from prompt_jax.methods.method import (
    Learn,
    MakeOptimizer,
    Output,
    Prompts,
    Task,
    Videos,
    all_train,
    keep,
    never,
    zero,
)
from prompt_jax.prompts import encode_packed

POOLINGS = ("norm_then_mean", "mean_then_norm")


@dataclasses.dataclass(frozen=True)
class VideoSettings:
    """The settings that all methods of videos and texts share.

    Attributes:
        pooling: how frame features become a video feature. "norm_then_mean": the mean of the
            normalized features (VoP); "mean_then_norm": their mean, normalized (ViFi-CLIP).
        renormalize_video: whether the mean of normalized features is normalized again, as in X-Pool
            and CLIP4Clip; VoP's released model does not.
    """

    pooling: str = "norm_then_mean"
    renormalize_video: bool = True

    def __post_init__(self) -> None:
        if self.pooling not in POOLINGS:
            raise unknown("settings.pooling", self.pooling, POOLINGS)
        if self.pooling == "mean_then_norm" and not self.renormalize_video:
            raise PromptError(
                "settings.renormalize_video=False with settings.pooling=mean_then_norm: that mean "
                "is always normalized; leave it at True, or use pooling=norm_then_mean"
            )
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int | float) and value < 0:
                raise PromptError(f"settings.{field.name}={value} must be at least 0")


def _frozen_scale(prompts: Prompts, task: Task) -> Float[Array, ""]:
    del prompts
    return task.scale


def _own_template(settings: Any, template: str) -> str:
    del settings
    return template


def _no_template(settings: Any, template: str) -> None:
    del settings, template


def _no_losses(
    task: Task, texts: Float[Array, "texts dim"], plain: Float[Array, "texts dim"] | None
) -> dict[str, Float[Array, ""]]:
    del task, texts, plain
    return {}


class Captioning(NamedTuple):
    """Terms of the loss that read the tokens of captions, in training for retrieval.

    Attributes:
        encode_frames: (prompts, task, videos float[B, F, H, W, 3]) -> float32[B, F, d], not
            normalized; pooled, they are the features of `Encoders.encode_videos`.
        losses: (prompts, task, those features, `PackedTokens` of the B captions) -> terms by name,
            weighted.
    """

    encode_frames: Callable[[Prompts, Task, Array], Float[Array, "batch frames dim"]]
    losses: Callable[[Prompts, Task, Array, PackedTokens], dict[str, Float[Array, ""]]]


def no_constants(task: Task, class_names: Sequence[str], texts: Sequence[str]) -> None:
    """Returns None: the default of `Encoders.constants`."""
    del task, class_names, texts


class Encoders(NamedTuple):
    """Two encoders; products of their features are similarities.

    Attributes:
        Settings: the method's own `VideoSettings`, with the published defaults.
        init: (rng, task) -> prompts.
        encode_videos: (prompts, task, videos float[B, F, H, W, 3]) -> float32[B, d]; it may also
            take features, see `input`.
        encode_texts: (prompts, task, `PackedTokens` of N texts) -> float32[N, d], normalized.
        text_prompts: settings -> how many slots of the text tower the prompts take; texts are
            truncated to the rest.
        scale: (prompts, task) -> 1/τ, the factor of similarities in logits.
        template: (settings, the data set's template) -> the text of a class after the prompts,
            "{}" for its name.
        plain_template: (settings, the data set's template) -> the handwritten text of a class that
            `losses` compares with; None if it compares with none. For a caption it is the caption.
        losses: (task, texts float32[N, d], plain float32[N, d] or None) -> further terms of the
            loss by name, weighted; `plain` are frozen CLIP's features of handwritten texts.
        input: "videos"; or "frames" if nothing changes the image tower: then `encode_videos` also
            takes its features of the frames, float[B, F, d], not normalized.
        constants: (task, class names, texts of the classes) -> further constants of class names,
            `Classes.more`.
        trains, decays, optimizer, copies_weights, texts, frame_groups, own_classes_only: see
            `Method`.
        forward, learn: see `Method`, for class names; x are videos, and what is prepared are the
            features of the classes. Without `forward`, logits are scaled similarities.
        captioning: see `Captioning`; None if no term reads captions.
    """

    Settings: type
    init: Callable[[PRNGKeyArray, Task], Prompts]
    encode_videos: Callable[[Prompts, Task, Array], Float[Array, "batch dim"]]
    encode_texts: Callable[[Prompts, Task, PackedTokens], Float[Array, "texts dim"]]
    text_prompts: Callable[[Any], int] = zero
    scale: Callable[[Prompts, Task], Float[Array, ""]] = _frozen_scale
    template: Callable[[Any, str], str] = _own_template
    plain_template: Callable[[Any, str], str | None] = _no_template
    losses: Callable[[Task, Array, Array | None], dict[str, Float[Array, ""]]] = _no_losses
    input: Literal["videos", "frames"] = "videos"
    trains: Callable[[Prompts, Any], Any] = all_train
    optimizer: MakeOptimizer = keep
    copies_weights: bool = False
    texts: str = ""
    frame_groups: Callable[[Any], int] = zero
    captioning: Captioning | None = None
    constants: Callable[[Task, Sequence[str], Sequence[str]], Any] = no_constants
    forward: Callable[[Prompts, Any, Task, Any], Output] | None = None
    learn: Learn | None = None
    own_classes_only: Callable[[Any], bool] = never
    decays: Callable[[Prompts, Any], Any] = all_train


def pool_frames(
    features: Float[Array, "batch frames dim"], settings: VideoSettings
) -> Float[Array, "batch dim"]:
    """Averages frame features into video features; see `VideoSettings`."""
    if settings.pooling == "mean_then_norm":
        return normalize(jnp.mean(features, axis=1))
    mean = jnp.mean(normalize(features), axis=1)
    return normalize(mean) if settings.renormalize_video else mean


def encode_frames(task: Task, frozen: Frozen, videos: Videos) -> Float[Array, "batch dim"]:
    """Encodes videos frame by frame, without prompts."""
    return pool_frames(task.clip.encode_image(frozen, videos), task.settings)


def frame_features(
    task: Task, videos: Videos | Float[Array, "batch frames dim"]
) -> Float[Array, "batch frames dim"]:
    """Encodes frames with frozen CLIP; features are returned unchanged."""
    return videos if videos.ndim == 3 else task.clip.encode_image(task.frozen, videos)


def put_after_sos(
    task: Task,
    context: Float[Array, "prompts text_width"],
    deep_prompts: Float[Array, "layers deep text_width"] | None = None,
) -> Cache:
    """Computes keys and values of SOS and the context after it; see `TextTower.prefill`."""
    if not len(context):
        return task.sos
    return task.clip.prefill(task.frozen, context, deep_prompts, task.sos)


def encode_after(
    task: Task, slots: Float[Array, "layers prompts text_width"], texts: PackedTokens
) -> Float[Array, "texts dim"]:
    """Encodes texts after SOS and shared prompts, which are computed once; normalized.

    Args:
        slots: the prompts before each of the first layers.
    """
    cache = put_after_sos(task, slots[0], slots[1:])
    return encode_captions(task.clip, task.frozen, cache, texts)


def encode_captions(
    clip: CLIP, frozen: Frozen, cache: Cache, texts: PackedTokens
) -> Float[Array, "texts dim"]:
    """Encodes texts after the SOS and prompts in `cache`; normalized."""
    return normalize(encode_packed(clip, frozen, cache, texts))

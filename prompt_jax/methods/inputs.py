"""What a method sees: images, features of them, several views of them, or videos as images."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from prompt_jax.clip import CLIP, Frozen
from prompt_jax.errors import PromptError
from prompt_jax.methods.method import KEPT, Method, Task


class Views(NamedTuple):
    """Training images or videos, or their features, in several views; see `Method.views`."""

    images: Float[Array, "batch views ..."]


def split_views(images: Views | Array) -> tuple[Array, ...]:
    """Returns each view of training images by itself; of test images, the only one."""
    if isinstance(images, Views):
        return tuple(jnp.moveaxis(images.images, 1, 0))
    return (images,)


def encode_input(
    method: Method, task: Task, images: Float[Array, "batch ..."]
) -> Float[Array, "batch ..."]:
    """Returns the input of `forward`: the images or videos, or their frozen features.

    Cached features, of an image float[B, d] or of frames float[B, F, d], are returned unchanged.
    """
    if method.input not in KEPT or images.ndim <= 3:
        return images
    return jax.lax.stop_gradient(task.clip.encode_image(task.frozen, images))


def encode_views(method: Method, task: Task, images: Float[Array, "batch views ..."]) -> Views:
    """Returns the views of training images, encoded by `encode_input` as if they were images."""
    batch, views, *shape = images.shape
    seen = encode_input(method, task, images.reshape(batch * views, *shape))
    return Views(seen.reshape(batch, views, *seen.shape[1:]))


@dataclasses.dataclass(frozen=True)
class FrameAverage(CLIP):
    """A CLIP that takes videos float[B, F, H, W, 3] in place of images.

    Every image method works with it, whatever it changes in the image tower: the prompts of an
    image are shared by all frames, and features are averaged before they are normalized (ViFi-CLIP,
    Rasheed et al., CVPR 2023).
    """

    def image_head(
        self, frozen: Frozen, tokens: Float[Array, "batch *views frames tokens image_width"]
    ) -> Float[Array, "batch *views dim"]:
        """Computes video features, not normalized."""
        return jnp.mean(super().image_head(frozen, tokens), axis=-2)


def average_frames(clip: CLIP) -> FrameAverage:
    """Returns the same CLIP for videos."""
    fields = {field.name: getattr(clip, field.name) for field in dataclasses.fields(clip)}
    return FrameAverage(**fields)


def tower_for(method: Method, clip: CLIP, kind: str) -> CLIP:
    """Returns the CLIP for a method: `FrameAverage` for an image method on "videos"."""
    of_images = method.input in ("images", "features")
    return average_frames(clip) if kind == "videos" and of_images else clip


def check_frame_groups(method: Method, settings: Any, frames: int, what: str) -> None:
    """Raises PromptError unless a method takes videos of so many frames; `what` says whose."""
    if frames % (group := method.frame_groups(settings)):
        raise PromptError(
            f"{what}={frames}: with these settings the method takes videos of a multiple of "
            f"{group} frames; use {max(1, frames // group) * group}, or change its settings"
        )

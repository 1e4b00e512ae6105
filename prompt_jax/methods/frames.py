"""Image methods on videos: the feature of a video is the mean over its frames."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from prompt_jax.clip import CLIP, Frozen
from prompt_jax.methods.method import Method


@dataclasses.dataclass(frozen=True)
class FrameAverage(CLIP):
    """A CLIP that takes videos float[B, F, H, W, 3] in place of images.

    Every image method works with it, whatever it changes in the image tower: the prompts of an
    image are shared by all frames, and features are averaged before they are normalized (ViFi-CLIP,
    Rasheed et al., CVPR 2023).
    """

    def image_head(
        self, frozen: Frozen, tokens: Float[Array, "batch frames tokens image_width"]
    ) -> Float[Array, "batch dim"]:
        """Computes video features, not normalized."""
        return jnp.mean(super().image_head(frozen, tokens), axis=1)


def average_frames(clip: CLIP) -> FrameAverage:
    """Returns the same CLIP for videos."""
    fields = {field.name: getattr(clip, field.name) for field in dataclasses.fields(clip)}
    return FrameAverage(**fields)


def tower_for(method: Method, clip: CLIP, kind: str) -> CLIP:
    """Returns the CLIP for a method: `FrameAverage` for an image method on "videos"."""
    of_images = method.input in ("images", "features")
    return average_frames(clip) if kind == "videos" and of_images else clip

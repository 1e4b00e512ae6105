"""Methods of images on videos: an image's feature becomes the mean over a video's frames."""

import dataclasses

import jax
import jax.numpy as jnp

from prompt_jax.clip import CLIP, Frozen
from prompt_jax.methods.method import Method


@dataclasses.dataclass(frozen=True)
class FrameAverage(CLIP):
    """A CLIP that takes videos float[B, F, H, W, 3] for images.

    Every method of images so works on videos, whatever it does to the image tower: prompts of a
    image are those of all frames, and features, not yet normalised, are averaged over them
    (ViFi-CLIP, Rasheed et al., CVPR 2023).
    """

    def image_head(self, frozen: Frozen, tokens: jax.Array) -> jax.Array:
        """Video features float[B, d], not normalised, of float[B, F, S, d_v]."""
        return jnp.mean(super().image_head(frozen, tokens), axis=1)


def average_frames(clip: CLIP) -> FrameAverage:
    """The same CLIP, for videos."""
    fields = {field.name: getattr(clip, field.name) for field in dataclasses.fields(clip)}
    return FrameAverage(**fields)


def tower_for(method: Method, clip: CLIP, kind: str) -> CLIP:
    """The CLIP that a method gets: on "videos", one of images sees the mean over their frames."""
    of_images = method.input in ("images", "features")
    return average_frames(clip) if kind == "videos" and of_images else clip

"""Applies an image method to videos: the image feature is the mean over the frames."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from prompt_jax.export.torch_parts.clip import CLIP, ImageTower
from prompt_jax.export.torch_parts.videos import OfVideos


class AveragingTower(nn.Module):
    """An image tower for videos: all frames get the same prompts, and features are averaged.

    Tokens are float[B, F, S, d_v].
    """

    def __init__(self, tower: ImageTower):
        super().__init__()
        self.tower = tower

    def embed(self, videos: Tensor, prompts: Tensor | None = None) -> Tensor:
        """Embeds videos float[B, F, 3, H, W] as `ImageTower.embed` does images."""
        return self.tower.embed(videos.flatten(0, 1), prompts).unflatten(0, videos.shape[:2])

    def run(self, x: Tensor, deep: Mapping[int, Tensor] | None = None) -> Tensor:
        """Returns video features float[B, d], the mean of `ImageTower.run` over the frames."""
        frames = x.shape[1]
        per_frame = {
            layer: prompts
            if prompts.ndim == 2
            else prompts[:, None].expand(-1, frames, -1, -1).flatten(0, 1)
            for layer, prompts in (deep or {}).items()
        }
        features = self.tower.run(x.flatten(0, 1), per_frame)
        return features.unflatten(0, x.shape[:2]).mean(dim=1)


class FrameAverage(OfVideos):
    """A mixin that makes an image method take videos."""

    def __init__(self, clip: CLIP, arrays: Mapping[str, Tensor], config: Mapping[str, Any]):
        clip.add_module("visual", AveragingTower(clip.visual))
        super().__init__(clip, arrays, config)

"""A method of images on videos: an image's feature becomes the mean over a video's frames."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from prompt_jax.export.torch_parts.clip import CLIP, ImageTower
from prompt_jax.export.torch_parts.videos import OfVideos


class AveragingTower(nn.Module):
    """An image tower that takes videos for images; prompts of an image are those of all frames.

    Tokens are float[B, F, S, d_v].
    """

    def __init__(self, tower: ImageTower):
        super().__init__()
        self.tower = tower

    def embed(self, videos: Tensor, prompts: Tensor | None = None) -> Tensor:
        """See `ImageTower.embed`, of videos float[B, F, 3, H, W]."""
        return self.tower.embed(videos.flatten(0, 1), prompts).unflatten(0, videos.shape[:2])

    def run(self, x: Tensor, deep: Mapping[int, Tensor] | None = None) -> Tensor:
        """See `ImageTower.run`: video features float[B, d], the mean over the frames'."""
        frames = x.shape[1]
        of_frames = {
            layer: prompts
            if prompts.ndim == 2
            else prompts[:, None].expand(-1, frames, -1, -1).flatten(0, 1)
            for layer, prompts in (deep or {}).items()
        }
        features = self.tower.run(x.flatten(0, 1), of_frames)
        return features.unflatten(0, x.shape[:2]).mean(dim=1)


class FrameAverage(OfVideos):
    """What a method of images is mixed with."""

    def __init__(self, clip: CLIP, arrays: Mapping[str, Tensor], config: Mapping[str, Any]):
        """See `Classifier`."""
        clip.add_module("visual", AveragingTower(clip.visual))
        super().__init__(clip, arrays, config)

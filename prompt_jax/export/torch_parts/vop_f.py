"""VoP^F: the last layers see all frames of a video together (VoP, section 3.3)."""

import torch
from torch import Tensor

from prompt_jax.export.torch_parts.vop import VoP

_PUBLISHED_LAYERS = 12


class VoPF(VoP):
    """The first layers see each frame by itself, as those of VoP or of another variant do."""

    def frame_layers(self) -> int:
        """How many layers, from the first on, see each frame by itself."""
        layers = len(self.clip.visual.transformer.resblocks)
        return round(layers * self.settings["per_frame_layers"] / _PUBLISHED_LAYERS)

    def encode_videos(self, videos: Tensor) -> Tensor:
        """Features float[B, d] of videos float[B, F, 3, S, S], the mean over the class tokens'."""
        tower, first, frames = self.clip.visual, self.frame_layers(), videos.shape[1]
        x = self.see_frames(videos)
        if hasattr(self.prompts, "frame_position"):
            position = self.prompts.frame_position
            if frames != len(position):
                raise ValueError(f"videos of {frames} frames; there are {len(position)} positions")
            x = x + position[:, None]
        # Class tokens first, then all frames' patches, as one frame.
        x = torch.cat([x[:, :, 0], x[:, :, 1:].flatten(1, 2)], dim=1)[:, None]
        for layer in range(first, len(tower.transformer.resblocks)):
            x = self.look(layer, x, self.prompts_of("video_prompts", layer - first))
        class_tokens = x[:, 0, :frames]
        features = tower.head(class_tokens.flatten(0, 1)[:, None])
        return self.pool(features.unflatten(0, class_tokens.shape[:2]))


load = VoPF.load

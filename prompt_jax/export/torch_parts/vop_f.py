"""VoP^F: the last layers attend over all frames of a video (VoP, section 3.3)."""

import torch
from torch import Tensor

from prompt_jax.export.torch_parts.vop import VoP

_PUBLISHED_LAYERS = 12


class VoPF(VoP):
    """A VoP whose last layers attend over all frames of a video."""

    def frame_layers(self) -> int:
        layers = len(self.clip.visual.transformer.resblocks)
        return round(layers * self.settings["per_frame_layers"] / _PUBLISHED_LAYERS)

    def encode_videos(self, videos: Tensor) -> Tensor:
        """Returns features float[B, d] of videos float[B, F, 3, S, S], averaged over frames.

        Raises:
            ValueError: the videos have another number of frames than those of the training.
        """
        tower, first, frames = self.clip.visual, self.frame_layers(), videos.shape[1]
        x = self.run_frames(videos)
        if hasattr(self.prompts, "frame_position"):
            position = self.prompts.frame_position
            if frames != len(position):
                raise ValueError(
                    f"the videos have {frames} frames; the model expects {len(position)}"
                )
            x = x + position[:, None]
        # Joins the frames: all class tokens, then all patches.
        x = torch.cat([x[:, :, 0], x[:, :, 1:].flatten(1, 2)], dim=1)[:, None]
        for layer in range(first, len(tower.transformer.resblocks)):
            x = self.run_layer(layer, x, self.prompts_of("video_prompts", layer - first))
        class_tokens = x[:, 0, :frames]
        features = tower.head(class_tokens.flatten(0, 1)[:, None])
        return self.pool(features.unflatten(0, class_tokens.shape[:2]))


load = VoPF.load

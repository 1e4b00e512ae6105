"""VoP: prompts in every layer of both towers, for texts and videos (Huang et al., CVPR 2023).

Each layer has its own prompts, and their outputs are dropped.
"""

import torch
from torch import Tensor

from prompt_jax.export.torch_parts.clip import normalize
from prompt_jax.export.torch_parts.encoders import Encoders


class VoP(Encoders):
    """A CLIP with the same deep prompts for all frames, each encoded separately."""

    def text_slots(self) -> int:
        return self.settings["text_prompts"]

    def frame_layers(self) -> int:
        """Returns the number of first layers that encode each frame separately."""
        return len(self.clip.visual.transformer.resblocks)

    def prompts_of(self, name: str, layer: int) -> Tensor | None:
        """Returns the prompts of a layer from those named `name`; None if it has none."""
        prompts = getattr(self.prompts, name, ())
        return prompts[layer] if layer < len(prompts) else None

    def encode_ids(self, ids: Tensor) -> Tensor:
        """Returns features float[N, d], L2-normalized; each layer runs on [SOS][prompts][text]."""
        clip, x = self.clip, self.clip.token_embedding(ids)
        prompts = self.prompts_of("text_prompts", 0)
        before = 1 if prompts is None else 1 + len(prompts)
        positions = clip.positional_embedding[before:][: x.shape[1] - 1]
        sos = x[:, :1] + clip.positional_embedding[:1]
        if prompts is not None:
            prompts = prompts + clip.positional_embedding[1:before]
        x = torch.cat([sos, x[:, 1:] + positions], dim=1)
        for layer, block in enumerate(clip.transformer.resblocks):
            if layer:
                prompts = self.prompts_of("text_prompts", layer)
            if prompts is None:
                x = block(x)
                continue
            inserted = prompts.expand(x.shape[0], -1, -1)
            x = block(torch.cat([x[:, :1], inserted, x[:, 1:]], dim=1))
            x = torch.cat([x[:, :1], x[:, 1 + len(prompts) :]], dim=1)
        return normalize(clip.read_text(x, ids.argmax(dim=-1)))

    def inputs_of(self, layer: int, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Returns the tokens float[B, F, S, d_v] that enter a layer, and its prompts.

        Prompts are float[a, d_v], float[F, a, d_v] or float[B, F, a, d_v], or None.
        """
        return x, self.prompts_of("vision_prompts", layer)

    def run_frames(self, videos: Tensor) -> Tensor:
        """Returns tokens float[B, F, S, d_v] after the layers that encode frames separately."""
        tower = self.clip.visual
        x = tower.embed(videos.flatten(0, 1)).unflatten(0, videos.shape[:2])
        for layer in range(self.frame_layers()):
            x, prompts = self.inputs_of(layer, x)
            x = self.run_layer(layer, x, prompts)
        return x

    def run_layer(self, layer: int, x: Tensor, prompts: Tensor | None) -> Tensor:
        """Applies a layer to tokens float[B, F, S, d_v] with prompts appended."""
        block = self.clip.visual.transformer.resblocks[layer]
        number = x.shape[-2]
        if prompts is not None:
            if layer == 0:  # prompts of the first layer are normalized as the patches are
                prompts = self.clip.visual.ln_pre(prompts)
            prompts = prompts.expand(*x.shape[:-2], *prompts.shape[-2:])
            x = torch.cat([x, prompts], dim=-2)
        return block(x.flatten(0, 1)).unflatten(0, x.shape[:2])[:, :, :number]

    def encode_videos(self, videos: Tensor) -> Tensor:
        """Returns features float[B, d] of videos float[B, F, 3, S, S], averaged over frames."""
        x = self.run_frames(videos)
        return self.pool(self.clip.visual.head(x.flatten(0, 1)).unflatten(0, x.shape[:2]))


load = VoP.load

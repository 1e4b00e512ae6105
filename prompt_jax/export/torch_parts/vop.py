"""VoP: prompts in every layer of both towers, for texts and videos (Huang et al., CVPR 2023).

Prompts are new in each layer, and what they become is dropped.
"""

import torch
from torch import Tensor

from prompt_jax.export.torch_parts.clip import normalize
from prompt_jax.export.torch_parts.encoders import Encoders


class VoP(Encoders):
    """All frames of all videos see the same prompts, each frame by itself."""

    def text_slots(self) -> int:
        """How many slots of the text tower prompts take."""
        return self.settings["text_prompts"]

    def frame_layers(self) -> int:
        """How many layers, from the first on, see each frame by itself."""
        return len(self.clip.visual.transformer.resblocks)

    def prompts_of(self, name: str, layer: int) -> Tensor | None:
        """A layer's own among prompts float[K, ...]; None where there are none, or not so deep."""
        prompts = getattr(self.prompts, name, ())
        return prompts[layer] if layer < len(prompts) else None

    def encode_ids(self, ids: Tensor) -> Tensor:
        """Features float[N, d], normalised: each layer sees SOS, its prompts and the words."""
        clip, x = self.clip, self.clip.token_embedding(ids)
        prompts = self.prompts_of("text_prompts", 0)
        before = 1 if prompts is None else 1 + len(prompts)
        places = clip.positional_embedding[before:][: x.shape[1] - 1]
        sos = x[:, :1] + clip.positional_embedding[:1]
        if prompts is not None:
            prompts = prompts + clip.positional_embedding[1:before]
        x = torch.cat([sos, x[:, 1:] + places], dim=1)
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

    def see(self, layer: int, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """What a layer's frames float[B, F, S, d_v] are before it, and the prompts that they see.

        These are float[a, d_v], float[F, a, d_v] or float[B, F, a, d_v].
        """
        return x, self.prompts_of("vision_prompts", layer)

    def see_frames(self, videos: Tensor) -> Tensor:
        """Tokens float[B, F, S, d_v] after all layers that see each frame by itself."""
        tower = self.clip.visual
        x = tower.embed(videos.flatten(0, 1)).unflatten(0, videos.shape[:2])
        for layer in range(self.frame_layers()):
            x, prompts = self.see(layer, x)
            x = self.look(layer, x, prompts)
        return x

    def look(self, layer: int, x: Tensor, prompts: Tensor | None) -> Tensor:
        """A layer on float[B, F, S, d_v], whose tokens see prompts beside each other."""
        block = self.clip.visual.transformer.resblocks[layer]
        number = x.shape[-2]
        if prompts is not None:
            if layer == 0:  # the first layer's go through `ln_pre` with the patches
                prompts = self.clip.visual.ln_pre(prompts)
            prompts = prompts.expand(*x.shape[:-2], *prompts.shape[-2:])
            x = torch.cat([x, prompts], dim=-2)
        return block(x.flatten(0, 1)).unflatten(0, x.shape[:2])[:, :, :number]

    def encode_videos(self, videos: Tensor) -> Tensor:
        """Features float[B, d] of videos float[B, F, 3, S, S], the mean over the frames'."""
        x = self.see_frames(videos)
        return self.pool(self.clip.visual.head(x.flatten(0, 1)).unflatten(0, x.shape[:2]))


load = VoP.load

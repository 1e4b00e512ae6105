"""Implements VoP in conventional PyTorch code, following its released model.

Every caption takes all 77 slots and every frame is an image of the batch. Each layer inserts its
prompts after the first token, applies the block and removes them again.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from experiments.benchmark.counterparts.torch_clip import Learner
from prompt_jax.export.torch_parts.clip import normalize


def insert(x: Tensor, prompts: Tensor) -> Tensor:
    """Inserts prompts float[n, d] after the first token of float[N, S, d]."""
    return torch.cat([x[:, :1], prompts.expand(len(x), -1, -1), x[:, 1:]], dim=1)


def remove(x: Tensor, number: int) -> Tensor:
    """Removes `number` tokens after the first."""
    return torch.cat([x[:, :1], x[:, 1 + number :]], dim=1)


class VoP(Learner):
    """VoP: prompts in all layers of both towers."""

    def encode_texts(self) -> Tensor:
        """Returns normalized features float[B, d] of the captions."""
        prompts = self.prompts["text_prompts"]
        number = prompts.shape[1]
        x = self.clip.token_embedding(self.tokens)
        for layer, block in enumerate(self.clip.transformer.resblocks):
            x = insert(x, prompts[layer])
            if layer == 0:
                x = x + self.clip.positional_embedding
            x = remove(block(x), number)
        return normalize(self.clip.read_text(x, self.tokens.argmax(dim=-1)))

    def encode_videos(self, videos: Tensor) -> Tensor:
        """Returns features float[B, d] of videos float[B, F, 3, H, W]."""
        prompts, tower = self.prompts["vision_prompts"], self.clip.visual
        number = prompts.shape[1]
        x = tower.embed(videos.flatten(0, 1))
        for layer, block in enumerate(tower.transformer.resblocks):
            own = prompts[layer] if layer else tower.ln_pre(prompts[layer])
            x = remove(block(insert(x, own)), number)
        frames = normalize(tower.head(x)).unflatten(0, videos.shape[:2])
        mean = frames.mean(dim=1)
        return normalize(mean) if self.settings["renormalize_video"] else mean

    def text_logits(self, features: Tensor) -> Tensor:
        """Returns logits float[1, B, B], a row per caption, of fixed video features."""
        return self._compare(normalize(features))

    def forward(self, videos: Tensor) -> Tensor:
        """Returns logits float[1, B, B], a row per caption, of videos float[B, F, 3, H, W]."""
        return self._compare(self.encode_videos(videos))

    def _compare(self, videos):
        return (self.scale * self.encode_texts() @ videos.T)[None]

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Returns the cross-entropy of the pairs, averaged over both directions."""
        (own,) = logits
        return (F.cross_entropy(own, labels) + F.cross_entropy(own.T, labels)) / 2

"""Implements ViLT-CLIP in conventional PyTorch code, with prompts as in ViFi-CLIP's code.

Every class takes all 77 slots and every frame is an image of the batch. Prompts are part of the
tokens, and every layer replaces them.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from experiments.benchmark.counterparts.torch_clip import Learner, TorchCLIP
from experiments.benchmark.handover import Handover
from prompt_jax.export.torch_parts.clip import normalize


class ViLT(Learner):
    """ViLT-CLIP: prompts coupled by maps shared by all layers, and the scenario-guided loss."""

    embedded: Tensor
    plain: Tensor

    def __init__(self, clip: TorchCLIP, handover: Handover):
        """Embeds the class names and encodes the template texts once."""
        super().__init__(clip, handover)
        self.register_buffer("plain", self.encode_plain(handover.photo_tokens))
        self.register_buffer("embedded", clip.token_embedding(self.tokens))

    def couple(self) -> tuple[Tensor, Tensor]:
        """Returns all layers' text prompts float[J, b, d_l], vision prompts float[J, b, d_v]."""
        p = self.prompts
        text, vision = p["text_prompts"], p["vision_prompts"]
        made = F.linear(text, p["text_to_vision/kernel"].T, p["text_to_vision/bias"])
        made_back = F.linear(vision, p["vision_to_text/kernel"].T, p["vision_to_text/bias"])
        return torch.cat([text, made_back]), torch.cat([made, vision])

    def encode_classes(self, prompts: Tensor) -> Tensor:
        """Returns normalized text features float[K, d] for prompts float[J, b, d_l]."""
        first, *deeper = prompts
        after = self.embedded[:, 1 + len(first) :]
        own = first.expand(len(self.tokens), -1, -1)
        embeddings = torch.cat([self.embedded[:, :1], own, after], dim=1)
        deep = dict(enumerate(deeper, 1))
        return normalize(self.clip.encode_embedded(embeddings, self.tokens.argmax(dim=-1), deep))

    def encode_videos(self, videos: Tensor, prompts: Tensor) -> Tensor:
        """Returns features float[B, d] of videos float[B, F, 3, H, W] with prompts."""
        features = self.clip.encode_image(videos.flatten(0, 1), prompts)
        return normalize(features.unflatten(0, videos.shape[:2]).mean(dim=1))

    def text_logits(self, features: Tensor) -> Tensor:
        """Returns logits float[1, B, K] of fixed video features float[B, d]."""
        return self._compare(normalize(features), self.couple()[0])

    def forward(self, videos: Tensor) -> Tensor:
        """Returns logits float[1, B, K] of videos float[B, F, 3, H, W]."""
        text, vision = self.couple()
        return self._compare(self.encode_videos(videos, vision), text)

    def _compare(self, videos, prompts):
        self._classes = self.encode_classes(prompts)  # the loss uses them too
        return (self.scale * videos @ self._classes.T)[None]

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Returns cross-entropy plus weighted 1 - mean cosine of prompted and template texts."""
        cosine = (self._classes * self.plain).sum(dim=-1).mean()
        return F.cross_entropy(logits[0], labels) + self.settings["sg_weight"] * (1 - cosine)

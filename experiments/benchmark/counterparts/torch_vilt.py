"""ViLT-CLIP in PyTorch, the way such code is written: as ViFi-CLIP's public code has its prompts.

Every class takes all 77 slots and every frame is an image of the batch; prompts stand among the
tokens and are overwritten layer by layer.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from experiments.benchmark.counterparts.torch_clip import Learner, TorchCLIP
from experiments.benchmark.handover import Handover
from prompt_jax.export.torch_parts.clip import normalize


class ViLT(Learner):
    """Coupled prompts with maps that all layers share, and the scenario-guided term."""

    embedded: Tensor
    plain: Tensor

    def __init__(self, clip: TorchCLIP, handover: Handover):
        """Embeds the classes' words and encodes the texts written by hand, once."""
        super().__init__(clip, handover)
        self.register_buffer("plain", self.encode_plain(handover.photo_tokens))
        self.register_buffer("embedded", clip.token_embedding(self.tokens))

    def couple(self) -> tuple[Tensor, Tensor]:
        """All layers' prompts, float[J, b, d_l] of the text and float[J, b, d_v] of the frames."""
        p = self.prompts
        text, vision = p["text_prompts"], p["vision_prompts"]
        made = F.linear(text, p["text_to_vision/kernel"].T, p["text_to_vision/bias"])
        made_back = F.linear(vision, p["vision_to_text/kernel"].T, p["vision_to_text/bias"])
        return torch.cat([text, made_back]), torch.cat([made, vision])

    def encode_classes(self, prompts: Tensor) -> Tensor:
        """Normalised text features float[K, d] behind prompts float[J, b, d_l]."""
        first, *deeper = prompts
        behind = self.embedded[:, 1 + len(first) :]
        own = first.expand(len(self.tokens), -1, -1)
        embeddings = torch.cat([self.embedded[:, :1], own, behind], dim=1)
        deep = dict(enumerate(deeper, 1))
        return normalize(self.clip.encode_embedded(embeddings, self.tokens.argmax(dim=-1), deep))

    def encode_videos(self, videos: Tensor, prompts: Tensor) -> Tensor:
        """Features float[B, d] of videos float[B, F, 3, H, W] seen through float[J, b, d_v]."""
        features = self.clip.encode_image(videos.flatten(0, 1), prompts)
        return normalize(features.unflatten(0, videos.shape[:2]).mean(dim=1))

    def text_logits(self, features: Tensor) -> Tensor:
        """Logits float[1, B, K] of video features float[B, d] that stay as they are."""
        return self._compare(normalize(features), self.couple()[0])

    def forward(self, videos: Tensor) -> Tensor:
        """Logits float[1, B, K] of videos float[B, F, 3, H, W]."""
        text, vision = self.couple()
        return self._compare(self.encode_videos(videos, vision), text)

    def _compare(self, videos, prompts):
        self._classes = self.encode_classes(prompts)  # for the loss, which looks at them again
        return (self.scale * videos @ self._classes.T)[None]

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy, and 1 - the mean cosine of the texts with those written by hand."""
        cosine = (self._classes * self.plain).sum(dim=-1).mean()
        return F.cross_entropy(logits[0], labels) + self.settings["sg_weight"] * (1 - cosine)

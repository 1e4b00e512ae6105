"""ViLT-CLIP in PyTorch, the way such code is written: as ViFi-CLIP's public code has its prompts.

Every class takes all 77 slots and every frame is an image of the batch; prompts stand among the
tokens and are overwritten layer by layer. Neither JAX nor our library is imported here.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.benchmark.counterparts.torch_clip import TorchCLIP, normalize
from experiments.benchmark.handover import Handover


class ViLT(nn.Module):
    """Coupled prompts with maps that all layers share, and the scenario-guided term."""

    tokens: Tensor
    embedded: Tensor
    plain: Tensor

    def __init__(self, clip: TorchCLIP, handover: Handover):
        """Embeds the classes' words and encodes the texts written by hand, once."""
        super().__init__()
        self.clip, self.settings = clip, handover.settings
        self.prompts = nn.ParameterDict(
            {name: torch.tensor(array) for name, array in handover.prompts.items()}
        )
        written = torch.tensor(handover.photo_tokens).long()
        with torch.no_grad():
            plain = clip.encode_text(clip.token_embedding(written), written.argmax(dim=-1))
        self.register_buffer("plain", normalize(plain))
        self.register_buffer("tokens", torch.tensor(handover.tokens).long())
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
        return normalize(self.clip.encode_text(embeddings, self.tokens.argmax(dim=-1), deep))

    def encode_videos(self, videos: Tensor, prompts: Tensor) -> Tensor:
        """Features float[B, d] of videos float[B, F, 3, H, W] seen through float[J, b, d_v]."""
        frames = videos.flatten(0, 1)
        first, *deeper = prompts[:, None].expand(-1, len(frames), -1, -1)
        features = self.clip.visual(frames, shallow=first, deep=dict(enumerate(deeper, 1)))
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
        return (self.clip.logit_scale.exp() * videos @ self._classes.T)[None]

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy, and 1 - the mean cosine of the texts with those written by hand."""
        cosine = (self._classes * self.plain).sum(dim=-1).mean()
        return F.cross_entropy(logits[0], labels) + self.settings["sg_weight"] * (1 - cosine)

"""Implements CoOp, CoCoOp, MaPLe and ProMPT in conventional PyTorch code.

Every class takes 77 tokens, text that depends on the image is encoded in a loop over images (as in
CoCoOp's public code), and only frozen text features are cached. This code serves as the baseline
of the benchmark and as a reference in tests. It supports only default settings. VoP is in
`torch_vop`, ViLT-CLIP in `torch_vilt`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from experiments.benchmark.counterparts.torch_clip import Learner, TorchCLIP
from experiments.benchmark.counterparts.torch_towers import TextTower, Tower
from experiments.benchmark.counterparts.torch_vilt import ViLT
from experiments.benchmark.counterparts.torch_vop import VoP
from experiments.benchmark.handover import Handover
from prompt_jax.export.torch_parts.clip import normalize


class CoOp(Learner):
    """CoOp: context vectors shared by all classes."""

    first_loss = 0
    prefix: Tensor
    suffix: Tensor

    def __init__(self, clip: TorchCLIP, handover: Handover):
        """Embeds the classes' words once, as CoOp's public code does."""
        super().__init__(clip, handover)
        context_length = handover.prompts["context"].shape[0]
        self.register_buffer("prefix", clip.token_embedding(self.tokens[:, :1]))
        self.register_buffer("suffix", clip.token_embedding(self.tokens[:, 1 + context_length :]))

    def encode_classes(self, context: Tensor, deep: Mapping[int, Tensor] | None = None) -> Tensor:
        """Returns normalized text features float[K, d] for one context float[M, d_l]."""
        context = context.expand(len(self.tokens), -1, -1)
        embeddings = torch.cat([self.prefix, context, self.suffix], dim=1)
        return normalize(self.clip.encode_embedded(embeddings, self.tokens.argmax(dim=-1), deep))

    def generate(self, name: str, x: Tensor, layer: int | None = None) -> Tensor:
        """Applies Linear, ReLU, Linear; `layer` selects the biases of a layer."""
        p = self.prompts
        biases = [p[f"{name}/linear{i}/bias"] for i in (1, 2)]
        if layer is not None:
            biases = [bias[layer] for bias in biases]
        hidden = torch.relu(F.linear(x, p[f"{name}/linear1/kernel"].T, biases[0]))
        return F.linear(hidden, p[f"{name}/linear2/kernel"].T, biases[1])

    def text_logits(self, features: Tensor) -> Tensor:
        """Returns logits float[iterations, B, K] of fixed image features float[B, d]."""
        features = normalize(features)
        return (self.scale * features @ self.encode_classes(self.prompts["context"]).T)[None]

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits float[iterations, B, K] of images float[B, 3, H, W]."""
        return self.text_logits(self.clip.encode_image(images))

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Returns the cross-entropy, summed over the iterations from `first_loss` on."""
        losses = [F.cross_entropy(each, labels) for each in logits[self.first_loss :]]
        return torch.stack(losses).sum()


class CoCoOp(CoOp):
    """CoCoOp: one context per image, so classes are encoded per image."""

    def text_logits(self, features):
        """Returns logits of fixed image features; see `CoOp`."""
        features = normalize(features)
        contexts = self.prompts["context"] + self.generate("meta_net", features)[:, None]
        logits = [
            self.scale * feature @ self.encode_classes(context).T
            for feature, context in zip(features, contexts, strict=True)
        ]
        return torch.stack(logits)[None]


class MaPLe(CoOp):
    """MaPLe: deep text prompts, and vision prompts that are linear maps of them."""

    def text_logits(self, features):
        """Returns logits of fixed image features; see `CoOp`."""
        deep = dict(enumerate(self.prompts["deep_context"], 1))
        classes = self.encode_classes(self.prompts["context"], deep)
        return (self.scale * normalize(features) @ classes.T)[None]

    def forward(self, images):
        """Returns logits of images; see `CoOp`."""
        text = [self.prompts["context"], *self.prompts["deep_context"]]
        kernels, biases = self.prompts["projection/kernel"], self.prompts["projection/bias"]
        vision = [
            F.linear(each, kernel.T, bias)
            for each, kernel, bias in zip(text, kernels, biases, strict=True)
        ]
        return self.text_logits(self.clip.encode_image(images, torch.stack(vision)))


class ProMPT(CoOp):
    """ProMPT: iterations encode image and classes again, each prompted by the other."""

    first_loss = 1  # the zero-shot logits are not trained
    zero_shot: Tensor

    def __init__(self, clip: TorchCLIP, handover: Handover):
        """Encodes "a photo of a {}." once, as public code of regularized methods does."""
        super().__init__(clip, handover)
        self.register_buffer("zero_shot", self.encode_plain(handover.photo_tokens))

    def classify(self, features: Tensor, contexts: Tensor) -> tuple[Tensor, Tensor]:
        """Returns logits float[B, K] and class features float[B, K, d], in a loop over images."""
        classes = torch.stack([self.encode_classes(context) for context in contexts])
        logits = [
            self.scale * feature @ text.T for feature, text in zip(features, classes, strict=True)
        ]
        return torch.stack(logits), classes

    def next_contexts(self, contexts: Tensor, features: Tensor) -> Tensor:
        """Returns the contexts P of the next iteration, float[B, b, d_l] (eq. 10)."""
        return contexts + self.generate("text_generator", features)[:, None]

    def text_logits(self, features):
        """Returns the logits of every iteration's text part, zero-shot first; see `CoOp`."""
        features, contexts = normalize(features), self.prompts["context"]
        predictions = [self.scale * features @ self.zero_shot.T]
        for _ in range(self.settings["iterations"]):
            contexts = self.next_contexts(contexts, features)
            predictions.append(self.classify(features, contexts)[0])
        return torch.stack(predictions)

    def forward(self, images):
        """Returns logits of images; see `CoOp`."""
        features, contexts = normalize(self.clip.encode_image(images)), self.prompts["context"]
        predictions = [self.scale * features @ self.zero_shot.T]
        chosen = min(self.settings["vision_prompts"], len(self.tokens))
        vision = self.prompts["vision"][:, :chosen].expand(len(images), -1, -1, -1)
        selected = self.zero_shot[predictions[0].topk(chosen).indices]
        for _ in range(self.settings["iterations"]):
            made = [
                self.generate("vision_generator", selected, layer)
                for layer in range(vision.shape[1])
            ]
            vision = vision + torch.stack(made, dim=1)
            deep = dict(enumerate(vision.unbind(dim=1)))
            tower = self.clip.visual
            features = normalize(tower.run(tower.embed(images), deep))
            contexts = self.next_contexts(contexts, features)
            logits, classes = self.classify(features, contexts)
            predictions.append(logits)
            best = logits.topk(chosen).indices
            selected = torch.stack([text[rows] for text, rows in zip(classes, best, strict=True)])
        return torch.stack(predictions)


METHODS: dict[str, Callable[[TorchCLIP, Handover], Learner]] = {
    "image_tower": Tower,
    "text_tower": TextTower,
    "coop": CoOp,
    "cocoop": CoCoOp,
    "maple": MaPLe,
    "pro_mpt": ProMPT,
    "vop": VoP,
    "vilt_clip": ViLT,
}


def build(
    handover: Handover, state: Mapping[str, np.ndarray], device: torch.device | str = "cpu"
) -> Any:
    """Builds the method on a CLIP with the weights `state`, by OpenAI's names."""
    with torch.device(device):
        clip = TorchCLIP(handover.sizes, state)
        return METHODS[handover.method](clip, handover).to(device)

"""ProMPT: progressive multi-modal conditional prompt tuning (Qiu et al., ICMR 2024).

Starts from the frozen CLIP's prediction. Each iteration makes vision prompts from the most likely
classes, encodes the image with them, makes a text context from the image feature, and encodes the
classes again.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from prompt_jax.export.torch_parts.classifier import Classifier
from prompt_jax.export.torch_parts.clip import normalize
from prompt_jax.export.torch_parts.generators import generate, generate_layers


class ProMPT(Classifier):
    """A ProMPT classifier: encodes image and classes in turn, each conditioned on the other."""

    zero_shot: Tensor
    words: Tensor
    eot: Tensor

    def prepare(self) -> None:
        """Computes the frozen text features Z⁰ of "a photo of a {}." and embeds the class names."""
        self.keep("zero_shot", self.clip.encode_text(self.tokens("a photo of a {}.")))
        if self.settings["iterations"]:
            ids = self.tokens("{}.", len(self.prompts.context))
            self.keep("words", self.clip.token_embedding(ids))
            self.keep("eot", ids.argmax(dim=-1))

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits float[B, K] of the last iteration."""
        return self.iterations(images)[-1]

    def iterations(self, images: Tensor) -> Tensor:
        """Returns logits of p⁰ … p^N, float[1 + N, B, K]; p⁰ is the zero-shot prediction."""
        s, clip, number = self.settings, self.clip, len(self.names)
        embedded = clip.visual.embed(images)  # the same in every iteration
        features = normalize(clip.visual.run(embedded))
        predictions = [self.logits(features, normalize(self.zero_shot))]
        if not s["iterations"]:
            return torch.stack(predictions)
        chosen = min(s["vision_prompts"], number) if s["feature_filter"] else number
        made_from = self._generator_input(self.zero_shot)
        selected = made_from[predictions[0].topk(chosen).indices]  # the feature filter F
        vision = self._first_slots(chosen).expand(images.shape[0], -1, -1, -1)
        context = self.prompts.context.expand(images.shape[0], -1, -1)
        for _ in range(s["iterations"]):
            if s["vision_generator"]:
                vision = vision + generate_layers(self.prompts.vision_generator, selected)
            raw = clip.visual.run(embedded, dict(enumerate(vision.unbind(dim=1))))
            if s["text_generator"]:
                made = generate(self.prompts.text_generator, self._generator_input(raw))
                context = context + made[:, None]
            classes = clip.encode_after(context, self.words, self.eot)  # [B, K, d]
            predictions.append(self.logits(normalize(raw), normalize(classes)))
            best = predictions[-1].topk(chosen).indices[..., None]
            selected = self._generator_input(classes).gather(
                1, best.expand(-1, -1, classes.shape[-1])
            )
        return torch.stack(predictions)

    def _generator_input(self, features: Tensor) -> Tensor:
        """Normalizes features if the settings say so."""
        return normalize(features) if self.settings["normalize_generator_input"] else features

    def _first_slots(self, number: int) -> Tensor:
        """Returns O⁰ for `number` prompts, float[J, number, d_v], padded with zeros."""
        vision = self.prompts.vision[:, :number]
        return F.pad(vision, (0, 0, 0, number - vision.shape[1]))


load = ProMPT.load

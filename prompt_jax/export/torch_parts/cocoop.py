"""CoCoOp: a context shifted per image by a small meta-net (Zhou et al., CVPR 2022)."""

from torch import Tensor

from prompt_jax.export.torch_parts.classifier import Classifier
from prompt_jax.export.torch_parts.clip import normalize
from prompt_jax.export.torch_parts.generators import generate


class CoCoOp(Classifier):
    """A CoCoOp classifier: encodes every class again for every image."""

    words: Tensor
    eot: Tensor

    def prepare(self) -> None:
        """Embeds the words after the context, float[K, L, d_l], and finds their ends."""
        ids = self.tokens("{}.", len(self.prompts.context))
        self.keep("words", self.clip.token_embedding(ids))
        self.keep("eot", ids.argmax(dim=-1))

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits float[B, K]; the classes are encoded after each image's context."""
        features = self.encode(images)
        shift = generate(self.prompts.meta_net, features)  # [B, d_l]
        return self.classify(features, shift)

    def classify(self, features: Tensor, shift: Tensor) -> Tensor:
        """Returns logits of normalized features float[B, d] after contexts shifted by [B, d_l]."""
        context = self.prompts.context + shift[:, None]
        classes = self.clip.encode_after(context, self.words, self.eot)
        return self.logits(features, normalize(classes))


load = CoCoOp.load

"""CoCoOp: a context that depends on the image, by a small meta-net (Zhou et al., CVPR 2022)."""

from torch import Tensor

from prompt_jax.export.torch_parts.classifier import Classifier
from prompt_jax.export.torch_parts.clip import normalize
from prompt_jax.export.torch_parts.generators import generate


class CoCoOp(Classifier):
    """Every image sends every class through the text tower."""

    words: Tensor
    eot: Tensor

    def prepare(self) -> None:
        """The words float[K, L, d_l] behind the context, and where they end."""
        ids = self.tokens("{}.", len(self.prompts.context))
        self.keep("words", self.clip.token_embedding(ids))
        self.keep("eot", ids.argmax(dim=-1))

    def forward(self, images: Tensor) -> Tensor:
        """Cosine similarity of the image with every class, encoded behind the image's context."""
        features = self.encode(images)
        shift = generate(self.prompts.meta_net, features)  # [B, d_l]
        context = self.prompts.context + shift[:, None]
        classes = self.clip.encode_behind(context, self.words, self.eot)
        return self.logits(features, normalize(classes))


load = CoCoOp.load

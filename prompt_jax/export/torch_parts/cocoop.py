"""CoCoOp: a context that depends on the image, by a small meta-net (Zhou et al., CVPR 2022)."""

from torch import Tensor

from prompt_jax.export.torch_parts.classifier import Classifier
from prompt_jax.export.torch_parts.clip import normalize
from prompt_jax.export.torch_parts.generators import generate


class CoCoOp(Classifier):
    """Every picture sends every class through the text tower."""

    ids: Tensor

    def prepare(self) -> None:
        """The ids behind the context."""
        self.keep("ids", self.tokens("{}.", len(self.prompts.context)))

    def forward(self, images: Tensor) -> Tensor:
        """Cosine similarity of the image with every class, encoded behind the image's context."""
        features = self.encode(images)
        shift = generate(self.prompts.meta_net, features)  # [B, d_l]
        classes = self.clip.encode_text(self.ids, self.prompts.context + shift[:, None])
        return self.logits(features, normalize(classes))


load = CoCoOp.load

"""PerceptionCLIP: infers the context of the object, then classifies given the context, without
training (An et al., "PerceptionCLIP", ICLR 2024).
"""

from torch import Tensor

from prompt_jax.export.torch_parts.class_arrays import ClassArrays


class PerceptionCLIP(ClassArrays):
    """Sums the probabilities of the classes over contexts."""

    def prepare(self) -> None:
        """Chooses the features of the classes in each context, float[K, V, d]."""
        self.keep("classes", self.of_classes(self.prompts.classes))

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits float[B, K], log P(y) = log Σ_z P(z) P(y|z)."""
        features = self.encode(images)
        number, contexts, width = self.classes.shape
        flat = self.logits(features, self.classes.reshape(-1, width))
        similarities = flat.reshape(-1, number, contexts)
        temperature = self.settings["temperature"]
        if self.settings["inference"] == "with_y":
            scores = (similarities / temperature).logsumexp(dim=1)
        else:
            scores = self.logits(features, self.prompts.values) / temperature
        context = scores.log_softmax(dim=-1)[:, None]
        return (context + similarities.log_softmax(dim=1)).logsumexp(dim=-1)


load = PerceptionCLIP.load

"""KgCoOp: a context kept close to texts written by hand in training (Yao et al., CVPR 2023)."""

from prompt_jax.export.torch_parts.classifier import Classifier
from prompt_jax.export.torch_parts.clip import normalize


class KgCoOp(Classifier):
    """One context for all classes."""

    def prepare(self) -> None:
        """The classes' text features float[K, d] under the context."""
        context = self.prompts.context
        ids = self.tokens("{}.", len(context))
        self.keep("classes", normalize(self.clip.encode_text(ids, context)))


load = KgCoOp.load

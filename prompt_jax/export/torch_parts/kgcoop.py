"""KgCoOp: a context regularized toward hand-written templates (Yao et al., CVPR 2023)."""

from prompt_jax.export.torch_parts.classifier import Classifier
from prompt_jax.export.torch_parts.clip import normalize


class KgCoOp(Classifier):
    """A classifier with one context for all classes."""

    def prepare(self) -> None:
        """Computes the class features float[K, d] with the context."""
        context = self.prompts.context
        ids = self.tokens("{}.", len(context))
        self.keep("classes", normalize(self.clip.encode_text(ids, context)))


load = KgCoOp.load

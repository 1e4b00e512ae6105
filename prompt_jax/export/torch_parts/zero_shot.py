"""Zero-shot CLIP: classes are described by hand-written templates (Radford et al., 2021)."""

from prompt_jax.export.torch_parts.classifier import Classifier
from prompt_jax.export.torch_parts.clip import normalize


class ZeroShot(Classifier):
    """Zero-shot CLIP, with an average over several templates."""

    def prepare(self) -> None:
        """Computes the class features float[K, d], the mean over all templates."""
        texts = [self.clip.encode_text(self.tokens(text)) for text in self.config["tokens"]]
        self.keep("classes", normalize(sum(map(normalize, texts[1:]), normalize(texts[0]))))


load = ZeroShot.load

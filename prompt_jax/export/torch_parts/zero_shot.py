"""Zero-shot CLIP: classes by their texts, nothing trained (Radford et al., 2021)."""

from prompt_jax.export.torch_parts.classifier import Classifier
from prompt_jax.export.torch_parts.clip import normalize


class ZeroShot(Classifier):
    """Texts written by hand, and in methods made of this one something beside them."""

    def prepare(self) -> None:
        """The classes' text features float[K, d], the mean over all texts of a class."""
        texts = [self.clip.encode_text(self.tokens(text)) for text in self.config["tokens"]]
        self.keep("classes", normalize(sum(map(normalize, texts[1:]), normalize(texts[0]))))


load = ZeroShot.load

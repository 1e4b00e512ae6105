"""IVLP: independent deep prompts in both towers; PromptSRC predicts in the same way
(Khattak et al., "Self-regulating Prompts", ICCV 2023).
"""

from torch import Tensor

from prompt_jax.export.torch_parts.clip import normalize
from prompt_jax.export.torch_parts.deep_text import DeepText


class IVLP(DeepText):
    """A classifier with independent deep text and vision prompts."""

    def prepare(self) -> None:
        """Computes the class features float[K, d] with the text prompts."""
        self.keep("classes", self.encode_names(self.prompts.text[0], self.prompts.text[1:]))

    def encode(self, images: Tensor) -> Tensor:
        """Returns image features float[B, d], encoded with the vision prompts."""
        return normalize(self.clip.encode_image(images, self.prompts.vision))


load = IVLP.load

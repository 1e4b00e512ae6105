"""IVLP: independent deep prompts in both towers, and PromptSRC, which tells classes apart alike
(Khattak et al., "Self-regulating Prompts", ICCV 2023).
"""

from torch import Tensor

from prompt_jax.export.torch_parts.clip import normalize
from prompt_jax.export.torch_parts.deep_text import DeepText


class IVLP(DeepText):
    """Text prompts and vision prompts that do not know of each other."""

    def prepare(self) -> None:
        """The classes' text features float[K, d] under the text prompts."""
        self.keep("classes", self.encode_names(self.prompts.text[0], self.prompts.text[1:]))

    def encode(self, images: Tensor) -> Tensor:
        """Image features float[B, d], seen through the vision prompts."""
        return normalize(self.clip.encode_image(images, self.prompts.vision))


load = IVLP.load

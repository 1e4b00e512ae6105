"""VPT: prompts in the image tower alone (Jia et al., ECCV 2022), as MaPLe's code compares with."""

from torch import Tensor

from prompt_jax.export.torch_parts.classifier import Classifier
from prompt_jax.export.torch_parts.clip import normalize


class VPT(Classifier):
    """The first prompts enter before `ln_pre`, the others take their place layer by layer."""

    def prepare(self) -> None:
        """The text features float[K, d] of "a photo of a {}."."""
        ids = self.tokens("a photo of a {}.")
        self.keep("classes", normalize(self.clip.encode_text(ids)))

    def encode(self, images: Tensor) -> Tensor:
        """Image features float[B, d], seen through the vision prompts."""
        return normalize(self.clip.encode_image(images, self.prompts.vision))


load = VPT.load

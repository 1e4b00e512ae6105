"""VPT: prompts in the image tower only (Jia et al., ECCV 2022), as in MaPLe's baselines."""

from torch import Tensor

from prompt_jax.export.torch_parts.classifier import Classifier
from prompt_jax.export.torch_parts.clip import normalize


class VPT(Classifier):
    """A classifier with deep vision prompts; those of the first layer enter before `ln_pre`."""

    def prepare(self) -> None:
        """Computes the class features float[K, d] of "a photo of a {}."."""
        ids = self.tokens("a photo of a {}.")
        self.keep("classes", normalize(self.clip.encode_text(ids)))

    def encode(self, images: Tensor) -> Tensor:
        """Returns image features float[B, d], encoded with the vision prompts."""
        return normalize(self.clip.encode_image(images, self.prompts.vision))


load = VPT.load

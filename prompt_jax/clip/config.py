"""The architecture of a CLIP with a plain ViT, and the named variants."""

import dataclasses

from prompt_jax.errors import PromptError

ACTIVATIONS = ("quick_gelu", "gelu")
VOCABULARY = 49408
"""Size of CLIP's vocabulary; the last two tokens are SOS and EOT."""


@dataclasses.dataclass(frozen=True)
class CLIPConfig:
    """The architecture of both towers.

    Widths are in features, `image_size` and `patch_size` in pixels. `activation` is "quick_gelu"
    (x * sigmoid(1.702 x), OpenAI's weights) or "gelu" (exact, most open_clip weights).
    """

    image_size: int
    patch_size: int
    image_width: int
    image_layers: int
    image_heads: int
    image_mlp: int
    text_width: int
    text_layers: int
    text_heads: int
    text_mlp: int
    embed_dim: int
    vocab_size: int = VOCABULARY
    context_length: int = 77
    activation: str = "quick_gelu"

    def __post_init__(self):
        if self.activation not in ACTIVATIONS:
            raise PromptError(f"activation={self.activation!r} is not one of {ACTIVATIONS}")
        if self.image_size % self.patch_size:
            raise PromptError(
                f"image_size={self.image_size} is not a multiple of patch_size={self.patch_size}"
            )
        for tower in ("image", "text"):
            width, heads = getattr(self, f"{tower}_width"), getattr(self, f"{tower}_heads")
            if heads < 1 or width % heads:
                raise PromptError(
                    f"{tower}_width={width} is not divisible by {tower}_heads={heads}"
                )

    @property
    def patches(self) -> int:
        """Returns the number of image patches, without the class token."""
        return (self.image_size // self.patch_size) ** 2

    @property
    def eot(self) -> int:
        """Returns the token id of EOT; SOS is the id before it.

        Tokens added to CLIP's vocabulary have higher ids. A smaller vocabulary, as in randomly
        initialized test models, ends with EOT.
        """
        return min(self.vocab_size, VOCABULARY) - 1


def _openai(image_size, patch_size, image_width, image_layers, text_width, embed_dim):
    return CLIPConfig(
        image_size=image_size,
        patch_size=patch_size,
        image_width=image_width,
        image_layers=image_layers,
        image_heads=image_width // 64,
        image_mlp=4 * image_width,
        text_width=text_width,
        text_layers=12,
        text_heads=text_width // 64,
        text_mlp=4 * text_width,
        embed_dim=embed_dim,
    )


def _open_clip(image_width, image_layers, image_mlp):
    return CLIPConfig(
        image_size=224,
        patch_size=14,
        image_width=image_width,
        image_layers=image_layers,
        image_heads=16,
        image_mlp=image_mlp,
        text_width=1024,
        text_layers=24,
        text_heads=16,
        text_mlp=4096,
        embed_dim=1024,
        activation="gelu",
    )


VARIANTS: dict[str, CLIPConfig] = {
    "ViT-B/32": _openai(224, 32, 768, 12, 512, 512),
    "ViT-B/16": _openai(224, 16, 768, 12, 512, 512),
    "ViT-L/14": _openai(224, 14, 1024, 24, 768, 768),
    "ViT-L/14@336px": _openai(336, 14, 1024, 24, 768, 768),
    "ViT-H-14": _open_clip(1280, 32, 5120),
    "ViT-g-14": _open_clip(1408, 40, 6144),
}

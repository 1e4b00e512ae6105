"""What a bare state dict does not say, in words: nothing in the weights tells it."""

from prompt_jax.clip.config import CLIPConfig
from prompt_jax.clip.open_clip_config import HEAD_WIDTH

SETTLED = "an open_clip_config.json beside the file would say"
ASK_ACTIVATION = (
    "the file does not say which activation its blocks have, and another one gives other answers:"
    " give activation='quick_gelu' (OpenAI's weights and what was trained on from them, MetaCLIP,"
    " DFN) or activation='gelu' (most of open_clip's own, as LAION's); of a run,"
    " --config.activation=…. Or put the model's open_clip_config.json beside the file"
)


def assumptions(config: CLIPConfig, causal: bool) -> tuple[str, ...]:
    """What is taken for granted of weights that stand alone, a line each.

    Args:
        config: sizes that were found in their shapes.
        causal: whether the file holds the mask of a causal text tower.
    """
    side = config.image_size // config.patch_size
    texts = "at their end" if causal else "at their end, under a causal mask"
    return (
        f"heads: {HEAD_WIDTH} wide, {config.image_heads} of images and {config.text_heads} of"
        f" texts; the file does not say, {SETTLED}",
        f"pooling: images at the class token, texts {texts}; the file does not say, {SETTLED}",
        f"image size: {config.image_size} x {config.image_size}, as {config.patches} patches of"
        f" {config.patch_size} are {side} x {side}; the file does not say, {SETTLED}",
        f"tokenizer: CLIP's; the file does not say, {SETTLED}",
    )

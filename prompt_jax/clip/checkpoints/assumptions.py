"""What a bare state dict does not say, in words: nothing in the weights tells it."""

from prompt_jax.clip.checkpoints.open_clip_config import HEAD_WIDTH
from prompt_jax.clip.config import CLIPConfig

ASK_ACTIVATION = (
    "the file does not say which activation its blocks have, and the other one gives other answers:"
    " give activation='quick_gelu' (OpenAI's weights and what was trained on from them, MetaCLIP,"
    " DFN) or activation='gelu' (most of open_clip's own, as LAION's), which is"
    " --config.activation=… of a run and --activation of a command; or put the model's"
    " open_clip_config.json beside the file"
)
_SETTLED = "open_clip_config.json beside the file would say"


def assumptions(config: CLIPConfig, causal: bool) -> tuple[str, ...]:
    """What is taken for granted of weights that stand alone, a line each.

    Args:
        config: sizes that were found in their shapes.
        causal: whether the file holds the mask of a causal text tower.
    """
    size, side = config.image_size, config.image_size // config.patch_size
    mask = "" if causal else ", under a causal mask"
    return (
        f"assumed: heads {HEAD_WIDTH} wide, {config.image_heads} of images and {config.text_heads}"
        f" of texts; {_SETTLED}",
        f"assumed: images pooled at the class token, texts at their end{mask}; {_SETTLED}",
        f"assumed: square images, {size} x {size} pixels in {side} x {side} patches; {_SETTLED}",
        f"assumed: CLIP's tokenizer; {_SETTLED}",
    )

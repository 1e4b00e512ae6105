"""Messages about settings that a bare state dict does not state."""

from prompt_jax.clip.checkpoints.open_clip_config import HEAD_WIDTH
from prompt_jax.clip.config import CLIPConfig

ASK_ACTIVATION = (
    "the file does not state the activation of its blocks, and a wrong one gives wrong results:"
    " set activation='quick_gelu' (OpenAI's weights and models fine-tuned from them, MetaCLIP, DFN)"
    " or activation='gelu' (most of open_clip's models, such as LAION's): --config.activation=… for"
    " a run, --activation for a command; or put the model's open_clip_config.json beside the file"
)
_REMEDY = "put open_clip_config.json beside the file to state it"


def assumptions(config: CLIPConfig, causal: bool) -> tuple[str, ...]:
    """Returns a message for each assumption about weights without a config file.

    Args:
        config: architecture according to the shapes.
        causal: whether the file has the mask of a causal text tower.
    """
    size, side = config.image_size, config.image_size // config.patch_size
    mask = "" if causal else ", under a causal mask"
    return (
        f"assumed: heads of width {HEAD_WIDTH}, {config.image_heads} in the image tower and"
        f" {config.text_heads} in the text tower; {_REMEDY}",
        f"assumed: images pooled at the class token, texts at their end{mask}; {_REMEDY}",
        f"assumed: square images, {size} x {size} pixels in {side} x {side} patches; {_REMEDY}",
        f"assumed: CLIP's tokenizer; {_REMEDY}",
    )

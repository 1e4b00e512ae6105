"""Where CLIPs stand on the Hugging Face hub, and what their folders are made of."""

from pathlib import Path

from prompt_jax.errors import PromptError

HUB_IDS = {
    "ViT-B/32": "openai/clip-vit-base-patch32",
    "ViT-B/16": "openai/clip-vit-base-patch16",
    "ViT-L/14": "openai/clip-vit-large-patch14",
    "ViT-L/14@336px": "openai/clip-vit-large-patch14-336",
}

CONFIGS = ("config.json", "open_clip_config.json")
HUGGING_FACE_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
OPEN_CLIP_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
# Asked for one after the other, so that a model's weights are downloaded in one format only.
_HUB_STEPS = (
    ("model.safetensors", "model.safetensors.index.json", "model-*.safetensors"),
    ("open_clip_model.safetensors",),
    ("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*.bin"),
    ("open_clip_pytorch_model.bin",),
)


def download(hub_id: str) -> Path:
    """The local folder of a model on the Hugging Face hub, downloaded once.

    Args:
        hub_id: "org/name".

    Raises:
        PromptError: huggingface_hub is not installed, or it did not get the model.
    """
    instead = "give a folder with config.json and model.safetensors instead"
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise PromptError(
            f"{hub_id}: a download needs huggingface_hub: pip install huggingface_hub; or {instead}"
        ) from None
    for weights in _HUB_STEPS:
        try:
            folder = Path(snapshot_download(hub_id, allow_patterns=[*CONFIGS, *weights]))
        # Offline, unknown, private, bad name and proxy failures share no base class.
        except Exception as error:
            reason = str(error).strip().partition("\n")[0][:300] or "no reason given"
            raise PromptError(
                f"{hub_id}: no such file or folder, and not to be had from the Hugging Face hub"
                f" ({type(error).__name__}: {reason}); {instead}"
            ) from None
        if any((folder / name).is_file() for name in (*HUGGING_FACE_WEIGHTS, *OPEN_CLIP_WEIGHTS)):
            break
    return folder

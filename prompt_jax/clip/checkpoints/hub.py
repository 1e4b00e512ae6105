"""Downloads CLIPs from the Hugging Face hub and finds the weights in their directories."""

from collections.abc import Sequence
from pathlib import Path

import pydantic

from prompt_jax.clip.checkpoints import preprocessing_files
from prompt_jax.clip.checkpoints.checkpoint_config import read_hugging_face
from prompt_jax.clip.checkpoints.state_dicts import read_json
from prompt_jax.clip.vocabulary import vocabulary_files
from prompt_jax.errors import PromptError, escape
from prompt_jax.storage import files

HUB_IDS = {
    "ViT-B/32": "openai/clip-vit-base-patch32",
    "ViT-B/16": "openai/clip-vit-base-patch16",
    "ViT-L/14": "openai/clip-vit-large-patch14",
    "ViT-L/14@336px": "openai/clip-vit-large-patch14-336",
    "ViT-H-14": "laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
    "ViT-g-14": "laion/CLIP-ViT-g-14-laion2B-s12B-b42K",
}

# In the addresses of OpenAI's files, https://openaipublic.azureedge.net/clip/models/SHA256/NAME.
OPENAI_SHA256 = {
    "ViT-B/32": "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
    "ViT-B/16": "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f",
    "ViT-L/14": "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836",
    "ViT-L/14@336px": "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02",
}

CONFIGS = ("config.json", "open_clip_config.json")
ADAPTER = "adapter_config.json"
HUGGING_FACE_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
OPEN_CLIP_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
# The shards that an index file lists.
_SHARDS = {
    "model.safetensors.index.json": "model-*.safetensors",
    "pytorch_model.bin.index.json": "pytorch_model-*.bin",
}
_BESIDE = (*CONFIGS, ADAPTER, *preprocessing_files.TRANSFORMERS, *vocabulary_files.NAMES)


class _Adapter(pydantic.BaseModel):
    """The used fields of peft's adapter_config.json."""

    peft_type: str = "an unknown type"
    base_model_name_or_path: str | None = None


def find_weights(folder: Path) -> Path:
    """Returns the path of a CLIP's weights in a directory with config files.

    Raises:
        PromptError: there are no weights, or no config of a CLIP.
    """
    names = weight_names(folder)
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise PromptError(f"the directory has none of {', '.join(names)}")


def weight_names(folder: Path) -> Sequence[str]:
    """Returns possible names of the weight file in a directory, most likely first.

    Raises:
        PromptError: the directory has no config of a CLIP.
    """
    if (folder / ADAPTER).is_file():
        raise PromptError(_describe_adapter(folder / ADAPTER))
    present = [name for name in CONFIGS if (folder / name).is_file()]
    if not present:
        raise PromptError(f"the directory has neither {' nor '.join(CONFIGS)}")
    if "open_clip_config.json" not in present:
        read_hugging_face(read_json(folder / "config.json"))
        return HUGGING_FACE_WEIGHTS
    # Repositories for timm have config.json and weights of another model alongside.
    if "config.json" in present and read_json(folder / "config.json").get("model_type") == "clip":
        return (*HUGGING_FACE_WEIGHTS, *OPEN_CLIP_WEIGHTS)
    return OPEN_CLIP_WEIGHTS


def _describe_adapter(path: Path) -> str:
    try:
        adapter = files.check(read_json(path), _Adapter)
    except ValueError as error:
        raise PromptError(f"{path.name}: {error}") from None
    base = adapter.base_model_name_or_path
    return (
        f"the directory holds a peft adapter ({escape(adapter.peft_type)[:80]})"
        f"{f' for {escape(base)[:80]}' if base else ''}, not a whole CLIP; merge it into the CLIP"
        " (peft's merge_and_unload, then save_pretrained) and pass the new directory"
    )


def download(hub_id: str) -> Path:
    """Downloads a model from the Hugging Face hub once and returns its local directory.

    The configs are downloaded first: they determine the names of the weight files.

    Args:
        hub_id: "org/name".

    Raises:
        PromptError: huggingface_hub is not installed, the download failed, or the model is not a
            CLIP.
    """
    folder = fetch(hub_id, _BESIDE)
    try:
        names = weight_names(folder)
    except PromptError as error:
        raise PromptError(f"{hub_id}: {error}") from None
    return fetch_weights(hub_id, names)


def fetch_weights(hub_id: str, names: Sequence[str]) -> Path:
    """Downloads the first of these weight files that a model has; returns its local directory."""
    # One after the other, to download the weights in one format only.
    for name in names:
        folder = fetch(hub_id, [name, *filter(None, [_SHARDS.get(name)])])
        if (folder / name).is_file():
            break
    return folder


def fetch(hub_id: str, names: Sequence[str]) -> Path:
    """Downloads files of a model, as far as it has them; returns their local directory.

    Raises:
        PromptError: huggingface_hub is not installed, or the download failed.
    """
    instead = "pass a directory with config.json and model.safetensors"
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise PromptError(
            f"{hub_id}: downloads need huggingface_hub: pip install huggingface_hub; or {instead}"
        ) from None
    try:
        return Path(snapshot_download(hub_id, allow_patterns=[*names]))
    # Offline, unknown, private, invalid name and proxy failures share no base class.
    except Exception as error:
        reason = str(error).strip().partition("\n")[0][:300] or "no reason given"
        raise PromptError(
            f"{hub_id}: no such file or directory, and it cannot be downloaded from the Hugging"
            f" Face hub ({type(error).__name__}: {reason}); {instead}"
        ) from None

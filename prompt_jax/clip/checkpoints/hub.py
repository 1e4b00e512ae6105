"""Where CLIPs stand on the Hugging Face hub, and what their folders are made of."""

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
# What an index names, which stands beside it.
_SHARDS = {
    "model.safetensors.index.json": "model-*.safetensors",
    "pytorch_model.bin.index.json": "pytorch_model-*.bin",
}
_BESIDE = (*CONFIGS, ADAPTER, *preprocessing_files.TRANSFORMERS, *vocabulary_files.NAMES)


class _Adapter(pydantic.BaseModel):
    """An adapter_config.json of peft."""

    peft_type: str = "an unknown type"
    base_model_name_or_path: str | None = None


def find_weights(folder: Path) -> Path:
    """The file of a CLIP's weights in a folder, by what its configs say.

    Raises:
        PromptError: there is none, or no config of a CLIP.
    """
    names = weight_names(folder)
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise PromptError(f"the folder has none of {', '.join(names)}")


def weight_names(folder: Path) -> Sequence[str]:
    """What a folder's configs say that its weights may be called, the likeliest first.

    Raises:
        PromptError: it has no config of a CLIP.
    """
    if (folder / ADAPTER).is_file():
        raise PromptError(_describe_adapter(folder / ADAPTER))
    there = [name for name in CONFIGS if (folder / name).is_file()]
    if not there:
        raise PromptError(f"the folder has neither {' nor '.join(CONFIGS)}")
    if "open_clip_config.json" not in there:
        read_hugging_face(read_json(folder / "config.json"))
        return HUGGING_FACE_WEIGHTS
    # Repositories made for timm keep another model's config.json and weights alongside.
    if "config.json" in there and read_json(folder / "config.json").get("model_type") == "clip":
        return (*HUGGING_FACE_WEIGHTS, *OPEN_CLIP_WEIGHTS)
    return OPEN_CLIP_WEIGHTS


def _describe_adapter(path: Path) -> str:
    try:
        said = files.check(read_json(path), _Adapter)
    except ValueError as error:
        raise PromptError(f"{path.name}: {error}") from None
    base = said.base_model_name_or_path
    return (
        f"the folder holds an adapter of peft ({escape(said.peft_type)[:80]}), which changes a"
        f" CLIP's weights{f', those of {escape(base)[:80]}' if base else ''}; merge it into them"
        " (peft's merge_and_unload, then save_pretrained) and give that folder"
    )


def download(hub_id: str) -> Path:
    """The local folder of a model on the Hugging Face hub, downloaded once.

    Its configs come first: they say which of its files hold a CLIP.

    Args:
        hub_id: "org/name".

    Raises:
        PromptError: huggingface_hub is not installed, it did not get the model, or that is no CLIP.
    """
    folder = _fetch(hub_id, _BESIDE)
    try:
        names = weight_names(folder)
    except PromptError as error:
        raise PromptError(f"{hub_id}: {error}") from None
    # One after the other, so that a model's weights are downloaded in one format only.
    for name in names:
        folder = _fetch(hub_id, [name, *filter(None, [_SHARDS.get(name)])])
        if (folder / name).is_file():
            break
    return folder


def _fetch(hub_id: str, names: Sequence[str]) -> Path:
    instead = "give a folder with config.json and model.safetensors instead"
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise PromptError(
            f"{hub_id}: a download needs huggingface_hub: pip install huggingface_hub; or {instead}"
        ) from None
    try:
        return Path(snapshot_download(hub_id, allow_patterns=[*names]))
    # Offline, unknown, private, bad name and proxy failures share no base class.
    except Exception as error:
        reason = str(error).strip().partition("\n")[0][:300] or "no reason given"
        raise PromptError(
            f"{hub_id}: no such file or folder, and not to be had from the Hugging Face hub"
            f" ({type(error).__name__}: {reason}); {instead}"
        ) from None

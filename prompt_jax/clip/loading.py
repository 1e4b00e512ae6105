"""Loading CLIP checkpoints, strict in both directions."""

import hashlib
import re
from pathlib import Path
from typing import Any

import jax
import numpy as np

from prompt_jax.clip.checkpoint_config import hugging_face_config, openai_config, shown
from prompt_jax.clip.config import VARIANTS, CLIPConfig
from prompt_jax.clip.hub import (
    CONFIGS,
    HUB_IDS,
    HUGGING_FACE_WEIGHTS,
    OPEN_CLIP_WEIGHTS,
    download,
)
from prompt_jax.clip.layouts import State, hugging_face_layout, openai_layout, to_tree
from prompt_jax.clip.state_dicts import SUFFIXES, read_json, read_state
from prompt_jax.errors import PromptError, unknown

EMBEDDED = Path(__file__).parent / "embedded"

_OPENAI_SCALARS = ("input_resolution", "context_length", "vocab_size")
_BUFFERS = (
    "text_model.embeddings.position_ids",
    "vision_model.embeddings.position_ids",
    "attn_mask",
    "text.attn_mask",
)
_OTHER_MODELS = {
    "visual.layer1.": "a CLIP with a ResNet image tower",
    "visual.attnpool.": "a CLIP with a ResNet image tower",
    "visual.trunk.": "an open_clip model with an image tower from timm",
    "text.transformer.embeddings.": "an open_clip model with a text tower from Hugging Face",
    "text_decoder.": "a CoCa",
    "logit_bias": "a SigLIP",
}


def load(source: str | Path, activation: str | None = None) -> tuple[CLIPConfig, dict[str, Any]]:
    """Read a CLIP with a plain ViT: OpenAI, Hugging Face or open_clip.

    Files are read as data, TorchScript archives and pickles too: nothing in them runs.

    Args:
        source: a weight file (.pt, .bin, .safetensors); a folder with config.json or
            open_clip_config.json and weights; "ViT-B/32", "ViT-B/16", "ViT-L/14" or
            "ViT-L/14@336px"; a model on the Hugging Face hub, "org/name"; or "embedded", the small
            CLIP that comes with this library. Names of variants and models are downloaded once.
        activation: "quick_gelu" or "gelu", replaces what the checkpoint says. A bare open_clip
            file does not say: it counts as "quick_gelu" if it holds OpenAI's integer scalars
            (input_resolution and so on), else as "gelu".

    Returns:
        sizes, and the parameters as a nested dict of float32 arrays:
        image: patch_embedding/kernel [p, p, 3, d_v], class_embedding [d_v],
        position_embedding [1 + patches, d_v], ln_pre, block_0.., ln_post, projection/kernel
        [d_v, d]; text: token_embedding [V, d_l], position_embedding [77, d_l], block_0..,
        ln_final, projection/kernel [d_l, d]; logit_scale [], the logarithm of 1/τ.
        LayerNorms have scale and bias; a block's qkv is query, key, value on the last axis.

    Raises:
        PromptError: nothing there, unreadable, not such a CLIP, or any key missing, unexpected,
            misshapen or not finite.
    """
    path = _locate(source)
    try:
        weights = _find_weights(path) if path.is_dir() else path
        return _read(weights, activation)
    except PromptError as error:
        raise PromptError(f"{path}: {error}") from None
    except OSError as error:
        raise PromptError(f"{path} cannot be read: {error.strerror or error}") from None


def fingerprint(config: CLIPConfig, frozen: dict[str, Any]) -> str:
    """A short hash of sizes and parameters: prompts mean nothing to a backbone of another."""
    digest = hashlib.sha256(repr(config).encode())
    for path, array in jax.tree.leaves_with_path(frozen):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


def _locate(source: str | Path) -> Path:
    """The local file or folder, downloaded where need be."""
    name = str(source)
    if name == "embedded":
        if not (EMBEDDED / "config.json").is_file():
            raise PromptError(
                f"the embedded CLIP is not in this installation ({EMBEDDED} has no config.json);"
                " give a checkpoint instead"
            )
        return EMBEDDED
    try:
        path = Path(source).expanduser()
        if path.exists():
            return path
    # A name too long, a folder that may not be entered, "~" of nobody, a null character.
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PromptError(f"{name[:80]!r} cannot be looked up: {reason}") from None
    if name in HUB_IDS:
        return download(HUB_IDS[name])
    is_path = isinstance(source, Path) or path.suffix in SUFFIXES or name[:1] in ("/", ".", "~")
    if is_path or name.count("/") > 1:
        raise PromptError(f"{path}: no such file or folder")
    # "ViT-B/61" has the form of a hub id, but stands for a misspelt variant.
    if "/" not in name or re.match(r"(?i)vit-|rn\d", name):
        hint = "; or give a file, a folder, or a model on the Hugging Face hub as org/name"
        raise PromptError(f"{unknown('CLIP', name, [*VARIANTS, 'embedded'])}{hint}")
    return download(name)


def _find_weights(folder: Path) -> Path:
    there = [name for name in CONFIGS if (folder / name).is_file()]
    if not there:
        raise PromptError(f"the folder has neither {' nor '.join(CONFIGS)}")
    names: tuple[str, ...] = HUGGING_FACE_WEIGHTS if "config.json" in there else ()
    if "open_clip_config.json" in there:
        # Repositories made for timm keep another model's config.json and weights alongside.
        if names and read_json(folder / "config.json").get("model_type") != "clip":
            names = ()
        names += OPEN_CLIP_WEIGHTS
    else:
        hugging_face_config(read_json(folder / "config.json"), activation="gelu")
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise PromptError(f"the folder has none of {', '.join(names)}")


def _read(weights: Path, activation: str | None) -> tuple[CLIPConfig, dict[str, Any]]:
    state = read_state(weights)
    for mark, model in _OTHER_MODELS.items():
        if any(name.startswith(mark) for name in state):
            raise PromptError(f"this is {model}; only CLIPs with a plain ViT can be read")
    for name in _BUFFERS:
        state.pop(name, None)
    if any(name.startswith("vision_model.") for name in state):
        settings = weights.parent / "config.json"
        if not settings.is_file():
            raise PromptError("Hugging Face weights need config.json beside them")
        config = hugging_face_config(read_json(settings), activation, state)
        layout = hugging_face_layout(config.image_layers, config.text_layers)
    elif any(name.startswith("visual.") for name in state):
        prefix = "text." if "text.token_embedding.weight" in state else ""
        config = _openai_config(state, prefix, weights.parent, activation)
        layout = openai_layout(config.image_layers, config.text_layers, prefix)
    else:
        first = ", ".join(list(state)[:3]) or "none"
        raise PromptError(f"not a CLIP: no visual.* or vision_model.* among its keys ({first}, …)")
    return config, to_tree(layout, config, state)


def _openai_config(state: State, prefix: str, folder: Path, activation: str | None) -> CLIPConfig:
    """Sizes; takes OpenAI's scalars out of `state` and holds them against the shapes."""
    scalars = {name: state.pop(name) for name in _OPENAI_SCALARS if name in state}
    settings = folder / "open_clip_config.json"
    open_clip = read_json(settings) if settings.is_file() and not scalars else None
    if activation is None:
        model = (open_clip or {}).get("model_cfg")
        quick = bool(scalars) or (isinstance(model, dict) and bool(model.get("quick_gelu")))
        activation = "quick_gelu" if quick else "gelu"
    config = openai_config(state, prefix, activation, open_clip)
    sizes = (config.image_size, config.context_length, config.vocab_size)
    for (name, scalar), size in zip(
        ((n, scalars.get(n)) for n in _OPENAI_SCALARS), sizes, strict=True
    ):
        if scalar is not None and (scalar.size != 1 or scalar.item() != size):
            said = shown(scalar.item()) if scalar.size == 1 else f"{scalar.size} numbers"
            raise PromptError(f"{name} is {said}, but the weights' shapes say {size}")
    return config

"""Loads CLIP checkpoints; rejects missing and unexpected parameters alike."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from prompt_jax.clip.checkpoints import preprocessing, preprocessing_files
from prompt_jax.clip.checkpoints.assumptions import ASK_ACTIVATION, assumptions
from prompt_jax.clip.checkpoints.checkpoint_config import (
    hugging_face_config,
    read_hugging_face,
    shown,
)
from prompt_jax.clip.checkpoints.hub import HUB_IDS, download, find_weights
from prompt_jax.clip.checkpoints.layouts import (
    Layout,
    State,
    check_state,
    hugging_face_layout,
    openai_layout,
    to_tree,
)
from prompt_jax.clip.checkpoints.open_clip_config import openai_config, read_open_clip
from prompt_jax.clip.checkpoints.state_dicts import SUFFIXES, read_json, read_with_notes
from prompt_jax.clip.config import VARIANTS, VOCABULARY, CLIPConfig
from prompt_jax.clip.layers import unstack_layers
from prompt_jax.clip.vocabulary import vocabulary_files
from prompt_jax.errors import PromptError, unknown

EMBEDDED = Path(__file__).parent / "embedded"

_OPENAI_SCALARS = ("input_resolution", "context_length", "vocab_size")
_POSITIONS = ("text_model.embeddings.position_ids", "vision_model.embeddings.position_ids")
_MASKS = ("attn_mask", "text.attn_mask")
# The names of adapter weights in peft and loralib.
_ADAPTER = re.compile(r"(?:^|\.)(?:(?:w_)?lora_\w+|base_layer|hada_\w+|lokr_\w+|ia3_l)(?:\.|$)")
# CLIP's training bounds 1/τ by 100; fine-tuning without that bound exceeds it slightly. A value
# above this limit is 1/τ itself, which is initialized to 14.
_HIGHEST_LOG_SCALE = 5.0
_OTHER_MODELS = {
    "visual.layer1.": "a CLIP with a ResNet image tower",
    "visual.attnpool.": "a CLIP with a ResNet image tower",
    "visual.trunk.": "an open_clip model with an image tower from timm",
    "text.transformer.embeddings.": "an open_clip model with a text tower from Hugging Face",
    "text_decoder.": "a CoCa",
    "prompt_learner.": "a checkpoint of CoOp's code (see prompt_jax.import_checkpoint)",
    "logit_bias": "a SigLIP",
}


class Checkpoint(NamedTuple):
    """A CLIP and the assumptions that were made to read it.

    Attributes:
        config: the architecture.
        frozen: the parameters, see `load`.
        assumed: messages about settings that no file states and choices that were made.
    """

    config: CLIPConfig
    frozen: dict[str, Any]
    assumed: tuple[str, ...]


def load(source: str | Path, activation: str | None = None) -> tuple[CLIPConfig, dict[str, Any]]:
    """Loads a CLIP with a plain ViT from OpenAI, Hugging Face or open_clip; see `read`.

    Returns:
        the architecture and the parameters, a nested dict of float32 arrays:
        image: patch_embedding/kernel [p, p, 3, d_v], class_embedding [d_v],
        position_embedding [1 + patches, d_v], ln_pre, block_0.., ln_post, projection/kernel
        [d_v, d]; text: token_embedding [V, d_l], position_embedding [77, d_l], block_0..,
        ln_final, projection/kernel [d_l, d]; logit_scale [], the logarithm of 1/τ.
        LayerNorms have scale and bias; a block's qkv is query, key, value on the last axis.
    """
    return read(source, activation)[:2]


def read(
    source: str | Path, activation: str | None = None, default_activation: str | None = None
) -> Checkpoint:
    """Loads a CLIP and reports the assumptions that were made.

    Files are parsed as data, also TorchScript archives and pickles; no code in them is executed.

    Args:
        source: a weight file (.pt, .bin, .safetensors); a directory with config.json or
            open_clip_config.json and weights; a name of `config.VARIANTS`, e.g. "ViT-B/16"; a
            model on the Hugging Face hub, "org/name"; or "embedded", the small CLIP that comes with
            this library. Variants and hub models are downloaded once.
        activation: "quick_gelu" or "gelu"; overrides the checkpoint. A bare state dict does not
            state its activation unless it has OpenAI's integer scalars (input_resolution and so
            on, then it is "quick_gelu") or open_clip_config.json beside it.
        default_activation: used if neither states it; None rejects such weights.

    Raises:
        PromptError: the source is missing, unreadable or not such a CLIP, has another vocabulary,
            a missing, unexpected, misshapen or non-finite parameter, or an unknown activation.
    """
    path = _locate(source)
    try:
        weights = find_weights(path) if path.is_dir() else path
        return _read(weights, activation, default_activation)
    except PromptError as error:
        raise PromptError(f"{path}: {error}") from None
    except OSError as error:
        raise PromptError(f"{path} cannot be read: {error.strerror or error}") from None


def read_preprocessing(source: str | Path, image_size: int) -> preprocessing.Declared:
    """Reads the image preprocessing in the files beside a checkpoint's weights.

    Args:
        source: a checkpoint that `load` accepts.
        image_size: of the checkpoint, in pixels.

    Raises:
        PromptError: see `load`.
    """
    path = _locate(source)
    if path.is_dir():
        return preprocessing.read(path, image_size)
    # For a weight file, transformers' files count only together with config.json.
    folder, names = path.parent, [preprocessing_files.OPEN_CLIP]
    if (folder / "config.json").is_file():
        names += preprocessing_files.TRANSFORMERS
    found = preprocessing.read(folder, image_size, tuple(names))
    return found._replace(alone=not (found.fields or found.problems))


def fingerprint(config: object, frozen: dict[str, Any]) -> str:
    """Returns a short hash of parameters and a config; prompts belong to one backbone."""
    digest = hashlib.sha256(repr(config).encode())
    for path, array in jax.tree.leaves_with_path(unstack_layers(frozen)):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


def _locate(source: str | Path) -> Path:
    """Returns the local file or directory; downloads it if necessary."""
    name = str(source)
    if name == "embedded":
        if not (EMBEDDED / "config.json").is_file():
            raise PromptError(
                f"the embedded CLIP is not in this installation ({EMBEDDED} has no config.json);"
                " pass a checkpoint instead"
            )
        return EMBEDDED
    if path := existing(source):
        return path
    if name in HUB_IDS:
        return download(HUB_IDS[name])
    refuse_path(source)
    # "ViT-B/61" has the form of a hub id but is a misspelled variant.
    if "/" not in name or re.match(r"(?i)vit-|rn\d", name):
        hint = "; or pass a file, a directory, or a model on the Hugging Face hub as org/name"
        raise PromptError(f"{unknown('CLIP', name, [*VARIANTS, 'embedded'])}{hint}")
    return download(name)


def existing(source: str | Path) -> Path | None:
    """Returns the path of a file or directory; None if there is none of this name.

    Raises:
        PromptError: the name cannot be looked up.
    """
    try:
        path = Path(source).expanduser()
        path.stat()  # not exists(), which hides all errors since Python 3.14
        return path
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a null character
        return None
    # An overlong name, a directory without permission, "~" of an unknown user.
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PromptError(f"{str(source)[:80]!r} cannot be looked up: {reason}") from None


def refuse_path(source: str | Path) -> None:
    """Raises a PromptError if the name of something absent can only be that of a file."""
    name, path = str(source), Path(source).expanduser()
    is_path = isinstance(source, Path) or path.suffix in SUFFIXES or name[:1] in ("/", ".", "~")
    if is_path or name.count("/") > 1:
        raise PromptError(f"{path}: no such file or directory")


def _read(weights: Path, activation: str | None, default_activation: str | None) -> Checkpoint:
    state, notes = read_with_notes(weights)
    for mark, model in _OTHER_MODELS.items():
        if any(name.startswith(mark) for name in state):
            raise PromptError(f"this is {model}; only CLIPs with a plain ViT are supported")
    if adapted := next(filter(_ADAPTER.search, state), ""):
        raise PromptError(
            f"these are adapter weights such as LoRA's ({adapted}), not a whole CLIP; merge them"
            " into the CLIP and pass the merged checkpoint (peft: merge_and_unload, then"
            " save_pretrained; loralib: eval(), then the state dict without lora_*)"
        )
    masks = [state.pop(name, None) for name in _MASKS]
    for name in _POSITIONS:
        state.pop(name, None)
    _check_scale(state)
    if any(name.startswith("vision_model.") for name in state):
        config, layout, assumed = _hugging_face(state, weights.parent, activation)
    elif any(name.startswith("visual.") for name in state):
        config, layout, assumed = _openai(
            state, weights.parent, activation, default_activation, masks
        )
    else:
        first = ", ".join(list(state)[:3]) or "none"
        raise PromptError(f"not a CLIP: no key is visual.* or vision_model.* ({first}, …)")
    return Checkpoint(config, to_tree(layout, config, state), (*notes, *assumed))


def _check_scale(state: State) -> None:
    """Reshapes logit_scale to a scalar and checks that it is a logarithm."""
    scale = state.get("logit_scale")
    if scale is None or scale.size != 1:
        return
    state["logit_scale"] = scale = scale.reshape(())
    if scale.dtype.kind == "f" and np.isfinite(scale) and scale > _HIGHEST_LOG_SCALE:
        value = shown(scale.item())
        raise PromptError(
            f"logit_scale={value} must be the logarithm of 1/τ, at most ln 100 = 4.605 in CLIP;"
            f" if this is 1/τ itself, store ln {value} = {np.log(scale):.4f}"
        )


def _hugging_face(
    state: State, folder: Path, activation: str | None
) -> tuple[CLIPConfig, Layout, tuple[str, ...]]:
    settings = folder / "config.json"
    if not settings.is_file():
        raise PromptError("Hugging Face weights need config.json beside them")
    declared = read_hugging_face(read_json(settings))
    config = hugging_face_config(declared, activation, state)
    text, image = declared.text_config, declared.vision_config
    acts = " and ".join(dict.fromkeys((image.hidden_act, text.hidden_act)))
    replaced = _replaced(activation, acts, "config.json")
    added = vocabulary_files.check(config.vocab_size, folder, "config.json", text.eos_token_id)
    layout = hugging_face_layout(config.image_layers, config.text_layers)
    return config, layout, (*replaced, *added)


def _openai(
    state: State,
    folder: Path,
    activation: str | None,
    default_activation: str | None,
    masks: Sequence[np.ndarray | None],
) -> tuple[CLIPConfig, Layout, tuple[str, ...]]:
    """Removes OpenAI's scalars from `state` and compares them with the shapes."""
    prefix = "text." if "text.token_embedding.weight" in state else ""
    scalars = {name: state.pop(name) for name in _OPENAI_SCALARS if name in state}
    settings = folder / "open_clip_config.json"
    declared = read_open_clip(read_json(settings)) if settings.is_file() and not scalars else None
    known, by = "", ""
    if scalars:
        known, by = "quick_gelu", "the file's own scalars"
    elif declared:
        known, by = "quick_gelu" if declared.quick_gelu else "gelu", settings.name
    # "gelu" is a placeholder: other errors come before the question for the activation below.
    chosen = activation or known or default_activation
    config = openai_config(state, prefix, chosen or "gelu", declared)
    _check_scalars(scalars, config)
    vocabulary_files.check_rows(config.vocab_size)
    added: tuple[str, ...] = ()
    if declared or config.vocab_size > VOCABULARY:
        # A config without vocab_size means CLIP's vocabulary.
        has_size = declared is not None and declared.text_cfg.vocab_size is not None
        file = settings.name if has_size else ""
        added = vocabulary_files.check(config.vocab_size, folder, file)
    layout = openai_layout(config.image_layers, config.text_layers, prefix)
    causal = any(_is_causal(mask, config.context_length) for mask in masks if mask is not None)
    if not chosen:
        check_state(layout, config, state)
        raise PromptError(ASK_ACTIVATION)
    assumed = () if by else assumptions(config, causal)
    if not (activation or known):
        assumed = (f"activation: {chosen!r}, the default of earlier versions", *assumed)
    return config, layout, (*_replaced(activation, known, by), *assumed, *added)


def _check_scalars(scalars: State, config: CLIPConfig) -> None:
    sizes = (config.image_size, config.context_length, config.vocab_size)
    for name, size in zip(_OPENAI_SCALARS, sizes, strict=True):
        scalar = scalars.get(name)
        if scalar is not None and (scalar.size != 1 or scalar.item() != size):
            value = shown(scalar.item()) if scalar.size == 1 else f"{scalar.size} numbers"
            raise PromptError(f"{name}={value}, but the shapes of the weights give {size}")


def _replaced(activation: str | None, known: str, by: str) -> tuple[str, ...]:
    """Returns a note if the requested activation differs from the declared one."""
    if activation is None or activation == known:
        return ()
    if not known:
        return (f"activation: {activation!r}, as requested; the file does not state it",)
    return (f"activation: {activation!r}, as requested, instead of {known!r} of {by}",)


def _is_causal(mask: np.ndarray, length: int) -> bool:
    """Returns True if a stored attention mask is causal.

    Raises:
        PromptError: the mask is not causal.
    """
    right = np.triu(np.ones((length, length), bool), 1)
    if mask.shape != right.shape or mask.dtype.kind != "f" or ((mask < -1e4) != right).any():
        raise PromptError("its attn_mask is not the causal mask of CLIP's text tower")
    return True

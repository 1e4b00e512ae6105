"""Loading CLIP checkpoints, strict in both directions."""

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
from prompt_jax.clip.checkpoints.state_dicts import SUFFIXES, read_json, read_told
from prompt_jax.clip.config import VARIANTS, VOCABULARY, CLIPConfig
from prompt_jax.clip.vocabulary import vocabulary_files
from prompt_jax.errors import PromptError, unknown

EMBEDDED = Path(__file__).parent / "embedded"

_OPENAI_SCALARS = ("input_resolution", "context_length", "vocab_size")
_POSITIONS = ("text_model.embeddings.position_ids", "vision_model.embeddings.position_ids")
_MASKS = ("attn_mask", "text.attn_mask")
# As peft and loralib name what stands beside, or in place of, a layer's own weights.
_ADAPTER = re.compile(r"(?:^|\.)(?:(?:w_)?lora_\w+|base_layer|hada_\w+|lokr_\w+|ia3_l)(?:\.|$)")
# CLIP's training keeps 1/τ at 100 at most; fine-tuning without that bound goes a little beyond. 1/τ
# itself is no such number: it starts at 14.
_HIGHEST_LOG_SCALE = 5.0
_OTHER_MODELS = {
    "visual.layer1.": "a CLIP with a ResNet image tower",
    "visual.attnpool.": "a CLIP with a ResNet image tower",
    "visual.trunk.": "an open_clip model with an image tower from timm",
    "text.transformer.embeddings.": "an open_clip model with a text tower from Hugging Face",
    "text_decoder.": "a CoCa",
    "prompt_learner.": "a training by CoOp's code (see prompt_jax.import_checkpoint)",
    "logit_bias": "a SigLIP",
}


class Checkpoint(NamedTuple):
    """A CLIP, and what was taken for granted to read it.

    Attributes:
        config: sizes.
        frozen: the parameters, see `load`.
        assumed: lines for people: what no file says, and what was chosen among what is there.
    """

    config: CLIPConfig
    frozen: dict[str, Any]
    assumed: tuple[str, ...]


def load(source: str | Path, activation: str | None = None) -> tuple[CLIPConfig, dict[str, Any]]:
    """Read a CLIP with a plain ViT: OpenAI, Hugging Face or open_clip; see `read`.

    Returns:
        sizes, and the parameters as a nested dict of float32 arrays:
        image: patch_embedding/kernel [p, p, 3, d_v], class_embedding [d_v],
        position_embedding [1 + patches, d_v], ln_pre, block_0.., ln_post, projection/kernel
        [d_v, d]; text: token_embedding [V, d_l], position_embedding [77, d_l], block_0..,
        ln_final, projection/kernel [d_l, d]; logit_scale [], the logarithm of 1/τ.
        LayerNorms have scale and bias; a block's qkv is query, key, value on the last axis.
    """
    return read(source, activation)[:2]


def read(
    source: str | Path, activation: str | None = None, unsaid: str | None = None
) -> Checkpoint:
    """Read a CLIP, and say what was assumed.

    Files are read as data, TorchScript archives and pickles too: nothing in them runs.

    Args:
        source: a weight file (.pt, .bin, .safetensors); a folder with config.json or
            open_clip_config.json and weights; "ViT-B/32", "ViT-B/16", "ViT-L/14" or
            "ViT-L/14@336px"; a model on the Hugging Face hub, "org/name"; or "embedded", the small
            CLIP that comes with this library. Names of variants and models are downloaded once.
        activation: "quick_gelu" or "gelu", replaces what the checkpoint says. A bare state dict
            does not say, unless it holds OpenAI's integer scalars (input_resolution and so on,
            then it is "quick_gelu") or has open_clip_config.json beside it.
        unsaid: the activation where neither says it; None refuses such weights.

    Raises:
        PromptError: nothing there, unreadable, not such a CLIP, of another vocabulary than CLIP's,
            any key missing, unexpected, misshapen or not finite, or no activation is known.
    """
    path = _locate(source)
    try:
        weights = find_weights(path) if path.is_dir() else path
        return _read(weights, activation, unsaid)
    except PromptError as error:
        raise PromptError(f"{path}: {error}") from None
    except OSError as error:
        raise PromptError(f"{path} cannot be read: {error.strerror or error}") from None


def read_preprocessing(source: str | Path, image_size: int) -> preprocessing.Said:
    """What stands beside a checkpoint's weights about images; see `clip.preprocessing`.

    Args:
        source: as of `load`, which has loaded it.
        image_size: of its sizes.

    Raises:
        PromptError: as `load`.
    """
    path = _locate(source)
    if path.is_dir():
        return preprocessing.read(path, image_size)
    # As with sizes, a weight file's own config alone is believed, if it lies beside.
    folder, names = path.parent, [preprocessing_files.OPEN_CLIP]
    if (folder / "config.json").is_file():
        names += preprocessing_files.TRANSFORMERS
    found = preprocessing.read(folder, image_size, tuple(names))
    return found._replace(alone=not (found.fields or found.problems))


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


def _read(weights: Path, activation: str | None, unsaid: str | None) -> Checkpoint:
    state, taken = read_told(weights)
    for mark, model in _OTHER_MODELS.items():
        if any(name.startswith(mark) for name in state):
            raise PromptError(f"this is {model}; only CLIPs with a plain ViT can be read")
    if adapted := next(filter(_ADAPTER.search, state), ""):
        raise PromptError(
            f"these are an adapter's weights, as LoRA's ({adapted}), which change a CLIP's; merge"
            " them into it and give what is then saved (peft: merge_and_unload, then"
            " save_pretrained; loralib: eval(), then the state dict without lora_*)"
        )
    masks = [state.pop(name, None) for name in _MASKS]
    for name in _POSITIONS:
        state.pop(name, None)
    _take_scale(state)
    if any(name.startswith("vision_model.") for name in state):
        config, layout, assumed = _hugging_face(state, weights.parent, activation)
    elif any(name.startswith("visual.") for name in state):
        config, layout, assumed = _openai(state, weights.parent, activation, unsaid, masks)
    else:
        first = ", ".join(list(state)[:3]) or "none"
        raise PromptError(f"not a CLIP: no visual.* or vision_model.* among its keys ({first}, …)")
    return Checkpoint(config, to_tree(layout, config, state), (*taken, *assumed))


def _take_scale(state: State) -> None:
    """Makes a scalar of the temperature, and looks whether it is a logarithm."""
    scale = state.get("logit_scale")
    if scale is None or scale.size != 1:
        return
    state["logit_scale"] = scale = scale.reshape(())
    if scale.dtype.kind == "f" and np.isfinite(scale) and scale > _HIGHEST_LOG_SCALE:
        value = shown(scale.item())
        raise PromptError(
            f"logit_scale is {value}, but CLIP's is at most ln 100 = 4.605; it must be the"
            f" logarithm of 1/τ: store ln {value} = {np.log(scale):.4f} if this is 1/τ itself"
        )


def _hugging_face(
    state: State, folder: Path, activation: str | None
) -> tuple[CLIPConfig, Layout, tuple[str, ...]]:
    settings = folder / "config.json"
    if not settings.is_file():
        raise PromptError("Hugging Face weights need config.json beside them")
    said = read_hugging_face(read_json(settings))
    config = hugging_face_config(said, activation, state)
    text, image = said.text_config, said.vision_config
    acts = " and ".join(dict.fromkeys((image.hidden_act, text.hidden_act)))
    replaced = _replaced(activation, acts, "config.json")
    added = vocabulary_files.check(config.vocab_size, folder, "config.json", text.eos_token_id)
    layout = hugging_face_layout(config.image_layers, config.text_layers)
    return config, layout, (*replaced, *added)


def _openai(
    state: State,
    folder: Path,
    activation: str | None,
    unsaid: str | None,
    masks: Sequence[np.ndarray | None],
) -> tuple[CLIPConfig, Layout, tuple[str, ...]]:
    """Takes OpenAI's scalars out of `state` and holds them against the shapes."""
    prefix = "text." if "text.token_embedding.weight" in state else ""
    scalars = {name: state.pop(name) for name in _OPENAI_SCALARS if name in state}
    settings = folder / "open_clip_config.json"
    said = read_open_clip(read_json(settings)) if settings.is_file() and not scalars else None
    known, by = "", ""
    if scalars:
        known, by = "quick_gelu", "the file's own scalars"
    elif said:
        known, by = "quick_gelu" if said.quick_gelu else "gelu", settings.name
    # Of what is no plain CLIP the activation is not asked for.
    config = openai_config(state, prefix, activation or known or unsaid or "gelu", said)
    _check_scalars(scalars, config)
    vocabulary_files.check_rows(config.vocab_size)
    added: tuple[str, ...] = ()
    if said or config.vocab_size > VOCABULARY:
        # One that leaves the size out means CLIP's.
        says_size = said is not None and said.text_cfg.vocab_size is not None
        file = settings.name if says_size else ""
        added = vocabulary_files.check(config.vocab_size, folder, file)
    layout = openai_layout(config.image_layers, config.text_layers, prefix)
    causal = any(_is_causal(mask, config.context_length) for mask in masks if mask is not None)
    if not (activation or known or unsaid):
        check_state(layout, config, state)  # what is wrong is told before anything is asked
        raise PromptError(ASK_ACTIVATION)
    assumed = () if by else assumptions(config, causal)
    if not (activation or known):
        assumed = (f"activation: {unsaid!r}, as earlier versions took it", *assumed)
    return config, layout, (*_replaced(activation, known, by), *assumed, *added)


def _check_scalars(scalars: State, config: CLIPConfig) -> None:
    sizes = (config.image_size, config.context_length, config.vocab_size)
    for name, size in zip(_OPENAI_SCALARS, sizes, strict=True):
        scalar = scalars.get(name)
        if scalar is not None and (scalar.size != 1 or scalar.item() != size):
            told = shown(scalar.item()) if scalar.size == 1 else f"{scalar.size} numbers"
            raise PromptError(f"{name} is {told}, but the weights' shapes say {size}")


def _replaced(activation: str | None, known: str, by: str) -> tuple[str, ...]:
    """A line where an activation was asked for that no file says."""
    if activation is None or activation == known:
        return ()
    if not known:
        return (f"activation: {activation!r}, as asked for; the file does not say",)
    return (f"activation: {activation!r}, as asked for, in place of {known!r} of {by}",)


def _is_causal(mask: np.ndarray, length: int) -> bool:
    """Whether a kept attention mask is that of a causal text tower.

    Raises:
        PromptError: it is another one.
    """
    right = np.triu(np.ones((length, length), bool), 1)
    if mask.shape != right.shape or mask.dtype.kind != "f" or ((mask < -1e4) != right).any():
        raise PromptError("its attn_mask is not that of CLIP's causal text tower")
    return True

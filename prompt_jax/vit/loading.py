"""Loads a ViT without text from DINO's or transformers' weights; files are read as data."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import pydantic

from prompt_jax.clip.checkpoints import hub
from prompt_jax.clip.checkpoints.checkpoint_config import Size, count_blocks, shown
from prompt_jax.clip.checkpoints.layouts import Layout, State, arrange, check_arrays
from prompt_jax.clip.checkpoints.state_dicts import read_json, read_with_notes
from prompt_jax.clip.loading import existing, refuse_path
from prompt_jax.errors import PromptError
from prompt_jax.storage import files
from prompt_jax.vit.layouts import dino_layout, hugging_face_layout, parameter_shapes
from prompt_jax.vit.tower import Frozen, Normalization, ViTConfig

HEAD_WIDTH = 64
DINO_EPSILON = 1e-6
IMAGENET: Normalization = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""The mean and standard deviation by which DINO's images are normalized."""

CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"
# Of models whose tower is a ViT; the features are before these.
_BEHIND = ("pooler.", "classifier.")
# Stored with leading axes of length 1: names to axes here.
_AXES = {"cls_token": 1, "pos_embed": 2, "position_embeddings": 2}

_Epsilon = Annotated[float, pydantic.Field(ge=0, le=1e-2)]
_Channels = Annotated[list[float], pydantic.Field(min_length=3, max_length=3)]


class Checkpoint(NamedTuple):
    """A ViT without text.

    Attributes:
        config: the architecture.
        frozen: the parameters, float32.
        normalization: mean and standard deviation of its images, by channel.
        assumed: messages about settings that no file states and parts that were left out.
    """

    config: ViTConfig
    frozen: Frozen
    normalization: Normalization
    assumed: tuple[str, ...]


class _Config(pydantic.BaseModel):
    """The fields of a config.json that concern the tower; others are ignored."""

    model_config = pydantic.ConfigDict(strict=True)

    model_type: Literal["vit"]
    hidden_size: Size = 768
    num_hidden_layers: Size = 12
    num_attention_heads: Size = 12
    intermediate_size: Size = 3072
    hidden_act: Literal["gelu"] = "gelu"
    layer_norm_eps: _Epsilon = 1e-12
    image_size: Size = 224
    patch_size: Size = 16
    num_channels: Literal[3] = 3
    qkv_bias: Literal[True] = True


class _Processor(pydantic.BaseModel):
    """The normalization of a preprocessor_config.json."""

    image_mean: _Channels = list(IMAGENET[0])
    image_std: Annotated[list[Annotated[float, pydantic.Field(gt=0)]], pydantic.Field(min_length=3)]


def read(source: str | Path) -> Checkpoint:
    """Loads a ViT and reports the assumptions that were made; no code in its files is executed.

    Args:
        source: DINO's weight file (.pth, .pt, .safetensors), whose shapes give the architecture; a
            weight file or directory with the config.json of transformers' `ViTModel` beside the
            weights; or a model on the Hugging Face hub, "org/name", downloaded once.

    Raises:
        PromptError: the source is missing, unreadable or not such a ViT; or has a missing,
            unexpected, misshapen or non-finite parameter.
    """
    path = _locate(source)
    try:
        weights = _find_weights(path) if path.is_dir() else path
        state, notes = read_with_notes(weights)
        found = build(state, weights.parent)
        return found._replace(assumed=(*notes, *found.assumed))
    except PromptError as error:
        raise PromptError(f"{path}: {error}") from None
    except OSError as error:
        raise PromptError(f"{path} cannot be read: {error.strerror or error}") from None


def _locate(source: str | Path) -> Path:
    if path := existing(source):
        return path
    refuse_path(source)
    name = str(source)
    if "/" not in name:
        raise PromptError(
            f"{shown(name)}: no such file or directory; pass DINO's weight file, a directory with "
            "config.json and model.safetensors, or a model on the Hugging Face hub as org/name"
        )
    folder = hub.fetch(name, (CONFIG, PROCESSOR))
    if not (folder / CONFIG).is_file():
        raise PromptError(f"{name}: the model has no {CONFIG}")
    _read_config(read_json(folder / CONFIG))
    return hub.fetch_weights(name, hub.HUGGING_FACE_WEIGHTS)


def _find_weights(folder: Path) -> Path:
    for name in hub.HUGGING_FACE_WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise PromptError(f"the directory has none of {', '.join(hub.HUGGING_FACE_WEIGHTS)}")


def build(state: State, folder: Path) -> Checkpoint:
    """Returns the ViT of a state dict; `folder` may have files beside its weights."""
    if any(name.startswith(("vit.", "dino.")) for name in state):
        state = {name.removeprefix("vit.").removeprefix("dino."): x for name, x in state.items()}
    state = {
        name: _drop_axes(x, _AXES.get(name.rpartition(".")[2], 0)) for name, x in state.items()
    }
    if "cls_token" in state:
        return _dino(state)
    if "embeddings.cls_token" in state:
        return _hugging_face(state, folder)
    first = ", ".join(list(state)[:3]) or "none"
    raise PromptError(f"not a ViT: no key is cls_token or embeddings.cls_token ({first}, …)")


def _drop_axes(array: np.ndarray, axes: int) -> np.ndarray:
    """Removes leading axes of length 1 until `axes` are left; 0 keeps all."""
    while axes and array.ndim > axes and len(array) == 1:
        array = array[0]
    return array


def _dino(state: State) -> Checkpoint:
    config = _dino_config(state)
    assumed = (
        f"assumed: heads of width {HEAD_WIDTH}, LayerNorms with epsilon {DINO_EPSILON:g}, exact "
        "GELU, and images normalized by ImageNet's mean and standard deviation, as in DINO",
    )
    return _checked(dino_layout(config.layers), config, state, IMAGENET, assumed)


def _dino_config(state: State) -> ViTConfig:
    kernel, positions = _shape(state, "patch_embed.proj.weight", 4), _shape(state, "pos_embed", 2)
    layers = count_blocks(state, "blocks.")
    if not layers:
        raise PromptError("the weights have no blocks.0")
    width, side = kernel[0], math.isqrt(max(0, positions[0] - 1))
    if side * side != positions[0] - 1 or not side:
        raise PromptError(
            f"pos_embed has {positions[0]} positions; a class token and a square of patches "
            "would be 1 + n²"
        )
    if width % HEAD_WIDTH:
        raise PromptError(f"its width {width} is not a multiple of a head's, {HEAD_WIDTH}")
    mlp = _shape(state, "blocks.0.mlp.fc1.weight", 2)[0]
    patch = kernel[2]
    return ViTConfig(side * patch, patch, width, layers, width // HEAD_WIDTH, mlp, DINO_EPSILON)


def _shape(state: State, name: str, axes: int) -> tuple[int, ...]:
    if name not in state:
        raise PromptError(f"the weights lack {name}")
    shape = state[name].shape
    if len(shape) != axes or not all(shape):
        raise PromptError(f"{name} has the shape {list(shape)}, not {axes} axes above 0")
    return shape


def _hugging_face(state: State, folder: Path) -> Checkpoint:
    if not (folder / CONFIG).is_file():
        raise PromptError(f"Hugging Face weights need {CONFIG} beside them")
    declared = _read_config(read_json(folder / CONFIG))
    layers = count_blocks(state, "encoder.layer.")
    if layers != declared.num_hidden_layers:
        raise PromptError(
            f"{CONFIG}: num_hidden_layers={declared.num_hidden_layers}, but the weights have "
            f"{layers} blocks"
        )
    config = ViTConfig(
        declared.image_size,
        declared.patch_size,
        declared.hidden_size,
        layers,
        declared.num_attention_heads,
        declared.intermediate_size,
        declared.layer_norm_eps,
    )
    assumed: list[str] = []
    behind = [name for name in state if name.startswith(_BEHIND)]
    if behind:
        assumed.append(f"left out: {', '.join(behind[:4])}, behind the features")
        state = {name: x for name, x in state.items() if name not in behind}
    normalization: Normalization = IMAGENET
    if (folder / PROCESSOR).is_file():
        normalization = _read_normalization(read_json(folder / PROCESSOR))
    else:
        assumed.append(
            f"assumed: images normalized by ImageNet's mean and standard deviation; a {PROCESSOR} "
            "beside the weights would state it"
        )
    layout = hugging_face_layout(layers)
    return _checked(layout, config, state, normalization, tuple(assumed))


def _read_config(content: Mapping[str, Any]) -> _Config:
    try:
        return files.check(content, _Config)
    except ValueError as error:
        raise PromptError(f"{CONFIG}: {error}") from None


def _read_normalization(content: Mapping[str, Any]) -> Normalization:
    try:
        found = files.check({"image_std": list(IMAGENET[1]), **content}, _Processor)
    except ValueError as error:
        raise PromptError(f"{PROCESSOR}: {error}") from None
    return tuple(found.image_mean), tuple(found.image_std)


def _checked(
    layout: Layout,
    config: ViTConfig,
    state: State,
    normalization: Normalization,
    assumed: tuple[str, ...],
) -> Checkpoint:
    check_arrays(layout, parameter_shapes(config), state, "a plain ViT")
    return Checkpoint(config, arrange(layout, state), normalization, assumed)

"""Infers a CLIP's architecture from shapes and open_clip_config.json, in OpenAI's layout."""

import math
from collections.abc import Mapping
from typing import Any

import pydantic

from prompt_jax.clip.checkpoints.checkpoint_config import Size, count_blocks, shown
from prompt_jax.clip.checkpoints.layouts import State
from prompt_jax.clip.config import CLIPConfig
from prompt_jax.errors import PromptError
from prompt_jax.storage import files

HEAD_WIDTH = 64  # of all OpenAI models, and the default of open_clip's image towers
# The supported values of settings that change the computation.
_SUPPORTED = {
    ("vision_cfg", "pool_type"): "tok",
    ("vision_cfg", "pos_embed_type"): "learnable",
    ("text_cfg", "pool_type"): "argmax",
    ("text_cfg", "proj_type"): "linear",
}
_OTHER_HEAD_WIDTHS = {1280: "ViT-H", 1408: "ViT-g", 1664: "ViT-bigG", 1792: "ViT-e"}


class _Section(pydantic.BaseModel):
    """Settings that follow from the shapes, only matter in training, or are used here.

    Other settings are rejected unless they are absent, false or in `_SUPPORTED`. `_compare` checks
    sizes in the file against the weights.
    """

    model_config = pydantic.ConfigDict(strict=True, extra="forbid", protected_namespaces=())

    layers: Any = None
    width: Any = None
    mlp_ratio: Any = None
    output_tokens: Any = None


class _Vision(_Section):
    image_size: Any = None
    patch_size: Any = None
    head_width: Size = HEAD_WIDTH
    patch_dropout: Any = None


class _Text(_Section):
    context_length: Any = None
    vocab_size: Any = None
    heads: Size = 8


class OpenClipModel(pydantic.BaseModel):
    """The model_cfg of open_clip_config.json."""

    model_config = pydantic.ConfigDict(strict=True, extra="forbid")

    embed_dim: Any = None
    quick_gelu: bool = False
    custom_text: Any = None
    init_logit_scale: Any = None
    vision_cfg: _Vision
    text_cfg: _Text


def read_open_clip(content: Mapping[str, Any]) -> OpenClipModel:
    """Reads an open_clip_config.json and rejects settings that the towers do not support.

    Raises:
        PromptError: a field is invalid or not supported.
    """
    model = content.get("model_cfg")
    if not isinstance(model, dict):
        raise PromptError("open_clip_config.json has no model_cfg")
    cleaned = _known_settings("model_cfg", model, OpenClipModel)
    for name, schema in (("vision_cfg", _Vision), ("text_cfg", _Text)):
        if not isinstance(model.get(name), dict):
            raise PromptError(f"open_clip_config.json: {name} must be an object")
        cleaned[name] = _known_settings(name, model[name], schema)
    try:
        return files.check(cleaned, OpenClipModel)
    except ValueError as error:
        raise PromptError(f"open_clip_config.json: {error}") from None


def _known_settings(
    name: str, section: Mapping[str, Any], schema: type[pydantic.BaseModel]
) -> dict[str, Any]:
    known = schema.model_fields
    for key, value in section.items():
        if key not in known and value and value != _SUPPORTED.get((name, key)):
            raise PromptError(
                f"open_clip_config.json: {name}.{key[:80]}={shown(value)} is not supported, only a"
                " plain ViT with OpenAI's text tower"
            )
    return {key: value for key, value in section.items() if key in known and value is not None}


def openai_config(
    state: State,
    text_prefix: str = "",
    activation: str = "quick_gelu",
    declared: OpenClipModel | None = None,
) -> CLIPConfig:
    """Infers the architecture from the shapes of weights in OpenAI's or open_clip's layout.

    Args:
        state: the weights.
        text_prefix: "" or "text."; see `openai_layout`.
        activation: "quick_gelu" or "gelu", which the weights do not show.
        declared: settings of open_clip_config.json, the only source of unusual head counts.

    Raises:
        PromptError: a weight that determines a size is missing or misshapen, or the architecture
            is not supported or contradicts `declared`.
    """
    blocks = "transformer.resblocks."
    needed = {
        "visual.conv1.weight": 4,
        "visual.positional_embedding": 2,
        "visual.proj": 2,
        f"visual.{blocks}0.mlp.c_fc.weight": 2,
        f"{text_prefix}token_embedding.weight": 2,
        f"{text_prefix}positional_embedding": 2,
        f"{text_prefix}{blocks}0.mlp.c_fc.weight": 2,
    }
    absent = [name for name in needed if name not in state]
    if absent:
        raise PromptError(
            f"{len(absent)} missing, needed to infer the architecture: {', '.join(absent)}"
        )
    for name, axes in needed.items():
        if state[name].ndim != axes or 0 in state[name].shape:
            shape = list(state[name].shape)
            raise PromptError(f"misshapen: {name} {shape}; it must have {axes} axes")
    conv, image_pos, proj, image_fc, tokens, text_pos, text_fc = (state[n].shape for n in needed)
    side = math.isqrt(image_pos[0] - 1)
    if side * side != image_pos[0] - 1 or not side:
        raise PromptError(f"visual.positional_embedding {list(image_pos)}: not 1 + a square number")
    if conv[0] in _OTHER_HEAD_WIDTHS and declared is None:
        raise PromptError(
            f"image width {conv[0]} ({_OTHER_HEAD_WIDTHS[conv[0]]}) does not determine the number"
            " of heads; put the model's open_clip_config.json beside the weights"
        )
    head_width = declared.vision_cfg.head_width if declared else HEAD_WIDTH
    config = CLIPConfig(
        image_size=side * conv[2],
        patch_size=conv[2],
        image_width=conv[0],
        image_layers=count_blocks(state, f"visual.{blocks}"),
        image_heads=_heads("image", conv[0], head_width),
        image_mlp=image_fc[0],
        text_width=tokens[1],
        text_layers=count_blocks(state, f"{text_prefix}{blocks}"),
        text_heads=declared.text_cfg.heads if declared else _heads("text", tokens[1], HEAD_WIDTH),
        text_mlp=text_fc[0],
        embed_dim=proj[1],
        vocab_size=tokens[0],
        context_length=text_pos[0],
        activation=activation,
    )
    if declared:
        _compare(declared, config)
    return config


def _heads(tower: str, width: int, head_width: int) -> int:
    if width % head_width:
        raise PromptError(
            f"{tower} width {width} is not divisible by the head width {head_width}; put the"
            " model's open_clip_config.json beside the weights if it has other heads"
        )
    return width // head_width


def _compare(declared: OpenClipModel, config: CLIPConfig) -> None:
    """Checks open_clip_config.json against the weights, whose last block may be missing."""
    image, text = declared.vision_cfg, declared.text_cfg
    for key, value, found in (
        ("model_cfg.embed_dim", declared.embed_dim, config.embed_dim),
        ("vision_cfg.image_size", image.image_size, config.image_size),
        ("vision_cfg.patch_size", image.patch_size, config.patch_size),
        ("vision_cfg.width", image.width, config.image_width),
        ("vision_cfg.layers", image.layers, config.image_layers),
        ("text_cfg.context_length", text.context_length, config.context_length),
        ("text_cfg.vocab_size", text.vocab_size, config.vocab_size),
        ("text_cfg.width", text.width, config.text_width),
        ("text_cfg.layers", text.layers, config.text_layers),
    ):
        if value not in (None, found, [found, found]):
            raise PromptError(
                f"open_clip_config.json: {key}={shown(value)}, but the weights have {found}"
            )

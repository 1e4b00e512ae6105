"""Sizes of a CLIP from its checkpoint: from config.json, or from the shapes of the weights."""

import itertools
import math
import re
import reprlib
from collections.abc import Mapping
from typing import Any

from prompt_jax.clip.config import ACTIVATIONS, CLIPConfig
from prompt_jax.clip.layouts import State
from prompt_jax.errors import PromptError

# Configurations saved by transformers 4 may leave out what equals these.
_IMAGE_DEFAULTS = {
    "image_size": 224,
    "patch_size": 32,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_channels": 3,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}
_TEXT_DEFAULTS = {
    "vocab_size": 49408,
    "max_position_embeddings": 77,
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}

LARGEST = 1_000_000  # of any size; the largest of any CLIP is a vocabulary

HEAD_WIDTH = 64  # of every CLIP by OpenAI, and of open_clip's image towers unless it says otherwise
_OTHER_HEAD_WIDTHS = {1280: "ViT-H", 1408: "ViT-g", 1664: "ViT-bigG"}

# open_clip settings that show in the shapes, only matter in training, or are read below.
_OPEN_CLIP_KNOWN = {
    "model_cfg": {
        *("embed_dim", "quick_gelu", "vision_cfg", "text_cfg", "custom_text", "init_logit_scale"),
    },
    "vision_cfg": {
        *("image_size", "layers", "width", "head_width", "mlp_ratio", "patch_size"),
        *("patch_dropout", "output_tokens"),
    },
    "text_cfg": {
        *("context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"),
        *("output_tokens",),
    },
}
_OPEN_CLIP_FIXED = {
    ("vision_cfg", "pool_type"): "tok",
    ("text_cfg", "pool_type"): "argmax",
    ("text_cfg", "proj_type"): "linear",
    ("vision_cfg", "pos_embed_type"): "learnable",
}


def shown(value: Any) -> str:
    """A value from a file for an error's message, shortened; it may be of any kind and length."""
    return reprlib.repr(value)


def hugging_face_config(
    content: Mapping[str, Any], activation: str | None = None, state: State | None = None
) -> CLIPConfig:
    """Sizes from the content of a config.json.

    Args:
        content: the parsed file, as transformers 4 or 5 writes it.
        activation: replaces what the file says.
        state: the weights; with them, the number of layers has to be that of their blocks.

    Raises:
        PromptError: another kind of model, a CLIP that the towers do not cover, or weights with
            other blocks.
    """
    kind = content.get("model_type")
    if kind != "clip":
        raise PromptError(f"config.json describes a model of type {shown(kind)}, not 'clip'")
    image = _section(content, "vision_config", _IMAGE_DEFAULTS)
    text = _section(content, "text_config", _TEXT_DEFAULTS)
    if image["num_channels"] != 3:
        raise PromptError(f"config.json: num_channels={shown(image['num_channels'])}, must be 3")
    for name, section in (("vision_config", image), ("text_config", text)):
        if section["layer_norm_eps"] != 1e-5:
            epsilon = shown(section["layer_norm_eps"])
            raise PromptError(f"config.json: {name}.layer_norm_eps={epsilon}, must be 1e-05")
    acts = (image["hidden_act"], text["hidden_act"])
    if activation is None and (acts[0] != acts[1] or acts[0] not in ACTIVATIONS):
        raise PromptError(
            f"config.json: hidden_act is {shown(acts[0])} for images and {shown(acts[1])} for text;"
            f" both must be the same, one of {ACTIVATIONS}"
        )
    if state is not None:
        for tower, section in (("vision", image), ("text", text)):
            found = _count_blocks(state, f"{tower}_model.encoder.layers.")
            if _integer(section, "num_hidden_layers") != found:
                raise PromptError(
                    f"config.json: {tower}_config.num_hidden_layers="
                    f"{section['num_hidden_layers']}, but the weights have {found} blocks"
                )
    return CLIPConfig(
        image_size=_integer(image, "image_size"),
        patch_size=_integer(image, "patch_size"),
        image_width=_integer(image, "hidden_size"),
        image_layers=_integer(image, "num_hidden_layers"),
        image_heads=_integer(image, "num_attention_heads"),
        image_mlp=_integer(image, "intermediate_size"),
        text_width=_integer(text, "hidden_size"),
        text_layers=_integer(text, "num_hidden_layers"),
        text_heads=_integer(text, "num_attention_heads"),
        text_mlp=_integer(text, "intermediate_size"),
        embed_dim=_integer({"projection_dim": 512, **content}, "projection_dim"),
        vocab_size=_integer(text, "vocab_size"),
        context_length=_integer(text, "max_position_embeddings"),
        activation=activation or acts[0],
    )


def openai_config(
    state: State,
    text_prefix: str = "",
    activation: str = "quick_gelu",
    open_clip: Mapping[str, Any] | None = None,
) -> CLIPConfig:
    """Sizes from the shapes of weights in OpenAI's or open_clip's layout.

    Args:
        state: the weights.
        text_prefix: "" or "text."; see `openai_layout`.
        activation: "quick_gelu" or "gelu"; the weights cannot tell.
        open_clip: the content of open_clip_config.json, which alone tells unusual head counts.

    Raises:
        PromptError: a weight that tells a size is missing or has another number of axes, or the
            settings describe something that the towers do not cover.
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
        raise PromptError(f"{len(absent)} missing, which tell the sizes: {', '.join(absent)}")
    for name, axes in needed.items():
        if state[name].ndim != axes or 0 in state[name].shape:
            shape = list(state[name].shape)
            raise PromptError(f"misshapen: {name} {shape}; it must have {axes} axes")
    conv, image_pos, proj, image_fc, tokens, text_pos, text_fc = (state[n].shape for n in needed)
    side = math.isqrt(image_pos[0] - 1)
    if side * side != image_pos[0] - 1 or not side:
        raise PromptError(f"visual.positional_embedding {list(image_pos)}: not 1 + a square number")
    settings = _open_clip_settings(open_clip)
    image, text = settings["vision_cfg"], settings["text_cfg"]
    if conv[0] in _OTHER_HEAD_WIDTHS and open_clip is None:
        raise PromptError(
            f"image width {conv[0]} ({_OTHER_HEAD_WIDTHS[conv[0]]}) does not tell the number of"
            " heads; put the model's open_clip_config.json beside the weights"
        )
    config = CLIPConfig(
        image_size=side * conv[2],
        patch_size=conv[2],
        image_width=conv[0],
        image_layers=_count_blocks(state, f"visual.{blocks}"),
        image_heads=_heads("image", conv[0], image.get("head_width")),
        image_mlp=image_fc[0],
        text_width=tokens[1],
        text_layers=_count_blocks(state, f"{text_prefix}{blocks}"),
        text_heads=_heads("text", tokens[1]) if open_clip is None else text.get("heads") or 8,
        text_mlp=text_fc[0],
        embed_dim=proj[1],
        vocab_size=tokens[0],
        context_length=text_pos[0],
        activation=activation,
    )
    _compare_open_clip(settings, config)
    return config


def _section(content: Mapping[str, Any], name: str, defaults: dict[str, Any]) -> dict[str, Any]:
    sections = [content.get(f"{name}_dict") or {}, content.get(name) or {}]
    if not all(isinstance(section, dict) for section in sections):
        raise PromptError(f"config.json: {name} must be an object")
    return {**defaults, **sections[0], **sections[1]}


def _integer(section: Mapping[str, Any], key: str) -> int:
    value = section[key]
    if not _is_size(value):
        raise PromptError(
            f"config.json: {key}={shown(value)} must be a positive integer, {LARGEST} at most"
        )
    return value


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= LARGEST


def _count_blocks(state: State, prefix: str) -> int:
    """How many blocks the weights have; the numbers in their names must run from 0 on."""
    pattern = re.compile(re.escape(prefix) + r"([0-9]{1,9})\.")
    blocks = {int(match[1]) for name in state if (match := pattern.match(name))}
    # Counted, not taken from the highest number, which a name can set to a billion.
    absent = next(number for number in itertools.count() if number not in blocks)
    if absent < len(blocks):
        raise PromptError(
            f"the weights have {len(blocks)} blocks {prefix}N, the last of them {max(blocks)}, but"
            f" {prefix}{absent} is missing"
        )
    return len(blocks)


def _heads(tower: str, width: int, head_width: int | None = None) -> int:
    head_width = head_width or HEAD_WIDTH
    if width % head_width:
        raise PromptError(
            f"the {tower} tower is {width} wide, which heads of {head_width} do not divide; an"
            " open_clip_config.json beside the weights can tell other heads"
        )
    return width // head_width


def _compare_open_clip(settings: Mapping[str, Any], config: CLIPConfig) -> None:
    """Hold what open_clip_config.json says against the weights: a last block may be missing."""
    for section, key, found in (
        ("model_cfg", "embed_dim", config.embed_dim),
        ("vision_cfg", "image_size", config.image_size),
        ("vision_cfg", "patch_size", config.patch_size),
        ("vision_cfg", "width", config.image_width),
        ("vision_cfg", "layers", config.image_layers),
        ("text_cfg", "context_length", config.context_length),
        ("text_cfg", "vocab_size", config.vocab_size),
        ("text_cfg", "width", config.text_width),
        ("text_cfg", "layers", config.text_layers),
    ):
        said = settings[section].get(key, found)
        if said not in (found, [found, found]):
            raise PromptError(
                f"open_clip_config.json: {section}.{key}={shown(said)}, but the weights have"
                f" {found}"
            )


def _open_clip_settings(content: Mapping[str, Any] | None) -> dict[str, Any]:
    """The two towers' settings, after refusing what would change the function unseen."""
    if content is None:
        return {"model_cfg": {}, "vision_cfg": {}, "text_cfg": {}}
    model = content.get("model_cfg")
    if not isinstance(model, dict):
        raise PromptError("open_clip_config.json has no model_cfg")
    sections: dict[str, Any] = {"model_cfg": model}
    sections |= {name: model.get(name) for name in ("vision_cfg", "text_cfg")}
    for name, section in sections.items():
        if not isinstance(section, dict):
            raise PromptError(f"open_clip_config.json: {name} must be an object")
        for key, value in section.items():
            usual = _OPEN_CLIP_FIXED.get((name, key))
            if key not in _OPEN_CLIP_KNOWN[name] and value and value != usual:
                raise PromptError(
                    f"open_clip_config.json: {name}.{key[:80]}={shown(value)} is not covered; only"
                    " the plain ViT with OpenAI's text tower is"
                )
    for name, key in (("vision_cfg", "head_width"), ("text_cfg", "heads")):
        count = sections[name].get(key) or 1
        if not _is_size(count):
            raise PromptError(
                f"open_clip_config.json: {name}.{key}={shown(count)} must be an integer from 1 to"
                f" {LARGEST}"
            )
    if not isinstance(model.get("quick_gelu", False), bool):
        quick = shown(model["quick_gelu"])
        raise PromptError(f"open_clip_config.json: quick_gelu={quick} must be true or false")
    return sections

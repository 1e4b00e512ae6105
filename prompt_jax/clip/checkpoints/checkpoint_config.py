"""Reads a CLIP's architecture from the config.json of transformers."""

import itertools
import re
import reprlib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pydantic

from prompt_jax.clip.checkpoints.layouts import State
from prompt_jax.clip.config import ACTIVATIONS, CLIPConfig
from prompt_jax.errors import PromptError
from prompt_jax.storage import files

LARGEST = 1_000_000  # upper bound of every size; the largest is the vocabulary's

Size = Annotated[int, pydantic.Field(strict=True, ge=1, le=LARGEST)]


class _Tower(pydantic.BaseModel):
    """The fields of both towers; configs may leave out default values."""

    model_config = pydantic.ConfigDict(strict=True)

    num_hidden_layers: Size = 12
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5


class _Image(_Tower):
    image_size: Size = 224
    patch_size: Size = 32
    hidden_size: Size = 768
    intermediate_size: Size = 3072
    num_attention_heads: Size = 12
    num_channels: Literal[3] = 3


class _Text(_Tower):
    vocab_size: Size = 49408
    max_position_embeddings: Size = 77
    hidden_size: Size = 512
    intermediate_size: Size = 2048
    num_attention_heads: Size = 8
    # The default even for a larger vocabulary.
    eos_token_id: int = 49407


class HuggingFaceConfig(pydantic.BaseModel):
    """The fields of a config.json that concern the towers; others are ignored."""

    model_config = pydantic.ConfigDict(strict=True)

    projection_dim: Size = 512
    text_config: _Text
    vision_config: _Image


def shown(value: Any) -> str:
    """Returns a shortened representation of a file's value, for error messages."""
    return reprlib.repr(value)


def read_hugging_face(content: Mapping[str, Any]) -> HuggingFaceConfig:
    """Reads a config.json.

    Raises:
        PromptError: it describes another type of model, or a field is invalid.
    """
    kind = content.get("model_type")
    if kind != "clip":
        raise PromptError(f"config.json: model_type={shown(kind)} is not supported, only 'clip'")
    sections = {name: _section(content, name) for name in ("text_config", "vision_config")}
    try:
        return files.check({**content, **sections}, HuggingFaceConfig)
    except ValueError as error:
        raise PromptError(f"config.json: {error}") from None


def _section(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Returns a tower's fields; as in transformers, NAME_dict takes precedence."""
    for key in (f"{name}_dict", name):
        if (section := content.get(key)) is not None:
            if not isinstance(section, dict):
                raise PromptError(f"config.json: {key} must be an object")
            return section
    return {}


def hugging_face_config(
    declared: HuggingFaceConfig, activation: str | None = None, state: State | None = None
) -> CLIPConfig:
    """Converts a config.json to the architecture.

    Args:
        declared: from `read_hugging_face`.
        activation: overrides the file's.
        state: the weights; if given, their number of blocks is checked.

    Raises:
        PromptError: the architecture is not supported, or does not match the weights.
    """
    image, text = declared.vision_config, declared.text_config
    for name, section in (("vision_config", image), ("text_config", text)):
        if section.layer_norm_eps != 1e-5:
            epsilon = shown(section.layer_norm_eps)
            raise PromptError(f"config.json: {name}.layer_norm_eps={epsilon} must be 1e-05")
    acts = (image.hidden_act, text.hidden_act)
    if activation is None and (acts[0] != acts[1] or acts[0] not in ACTIVATIONS):
        raise PromptError(
            f"config.json: hidden_act is {shown(acts[0])} in vision_config and {shown(acts[1])} in"
            f" text_config; both must be the same, one of {ACTIVATIONS}"
        )
    if state is not None:
        for tower, layers in (
            ("vision", image.num_hidden_layers),
            ("text", text.num_hidden_layers),
        ):
            found = count_blocks(state, f"{tower}_model.encoder.layers.")
            if layers != found:
                raise PromptError(
                    f"config.json: {tower}_config.num_hidden_layers={layers}, but the weights have"
                    f" {found} blocks"
                )
    return CLIPConfig(
        image_size=image.image_size,
        patch_size=image.patch_size,
        image_width=image.hidden_size,
        image_layers=image.num_hidden_layers,
        image_heads=image.num_attention_heads,
        image_mlp=image.intermediate_size,
        text_width=text.hidden_size,
        text_layers=text.num_hidden_layers,
        text_heads=text.num_attention_heads,
        text_mlp=text.intermediate_size,
        embed_dim=declared.projection_dim,
        vocab_size=text.vocab_size,
        context_length=text.max_position_embeddings,
        activation=activation or acts[0],
    )


def count_blocks(state: State, prefix: str) -> int:
    """Returns the number of blocks of the weights; raises if their numbers have a gap."""
    pattern = re.compile(re.escape(prefix) + r"([0-9]{1,9})\.")
    blocks = {int(match[1]) for name in state if (match := pattern.match(name))}
    # No range up to the highest number: a name can set it to a billion.
    absent = next(number for number in itertools.count() if number not in blocks)
    if absent < len(blocks):
        raise PromptError(
            f"the weights have {len(blocks)} blocks {prefix}N up to N={max(blocks)}, but"
            f" {prefix}{absent} is missing"
        )
    return len(blocks)

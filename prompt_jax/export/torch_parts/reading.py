"""Reads config.json and prompts.safetensors, and checks them before use."""

import hashlib
import json
import math
import os
import pathlib
from collections.abc import Callable
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from prompt_jax.export.torch_parts.images import check_regular
from prompt_jax.methods.bounds import find_beyond

SOS, EOT = 49406, 49407  # ids of the start and end tokens of a text
FORMAT = "prompt_jax export 1"
_MOST_BYTES = 2**28  # of config.json; with 22,000 classes it has 10 MB
_MOST = 2**24  # of sizes and settings; larger ones would exhaust the memory


def read_config(path: pathlib.Path) -> dict[str, Any]:
    """Returns the content of config.json.

    Raises:
        ValueError: it is damaged, or not such a file; names the field.
    """
    check_regular(path)
    try:
        if os.path.getsize(path) > _MOST_BYTES:
            raise ValueError(f"it has more than {_MOST_BYTES} bytes")
        config = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
        _check(config)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}; export the model again") from None
    return config


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not valid JSON")


def _check(config: Any) -> None:
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise ValueError(f"format is not {FORMAT!r}")
    if "digest" in config:  # removing it allows deliberate changes
        text = json.dumps({**config, "digest": ""}, sort_keys=True)
        if hashlib.sha256(text.encode()).hexdigest()[:16] != config["digest"]:
            raise ValueError("its content does not match its digest")
    for name, kind, right in _FIELDS:
        if not isinstance(config.get(name), kind) or not right(config[name]):
            raise ValueError(f"{name} is {repr(config.get(name))[:80]}")
    if beyond := find_beyond(config["settings"]):
        raise ValueError(f"settings.{beyond}")
    sizes, classes = config["sizes"], len(config["class_names"])
    for template, rows in config["tokens"].items():
        if not (isinstance(rows, list) and len(rows) == classes and all(map(_is_text, rows))):
            raise ValueError(f"tokens of {template[:80]!r} are not {classes} rows from SOS to EOT")
    if config["inputs"]["image_size"] != sizes["image_size"]:
        raise ValueError("inputs.image_size and sizes.image_size differ")
    if any(sizes[f"{tower}_width"] % sizes[f"{tower}_heads"] for tower in ("image", "text")):
        raise ValueError("sizes: a width is not divisible by its number of heads")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and abs(value) <= _MOST


def _is_text(row: Any) -> bool:
    """Returns whether a value is a row of token ids from SOS to EOT."""
    if not (isinstance(row, list) and len(row) > 1 and all(map(_is_token, row))):
        return False
    return row[0] == SOS and row.index(EOT) == len(row) - 1 if EOT in row else False


def _is_token(value: Any) -> bool:
    return _is_count(value) and value <= EOT


def _are_sizes(sizes: dict[str, Any]) -> bool:
    names = {f"{t}_{s}" for t in ("image", "text") for s in ("width", "layers", "heads", "mlp")}
    names |= {"image_size", "patch_size", "embed_dim", "vocab_size", "context_length"}
    counts = all(_is_count(sizes.get(name)) and sizes[name] for name in names)
    return counts and sizes.get("activation") in ("gelu", "quick_gelu")


_CHOICES = {
    "frame_rule": ("", "centre", "even", "second"),
    "crop": ("clip", "vifi"),
    "resize": ("shortest", "squash", "longest", "none"),
    "interpolation": ("bicubic", "bilinear", "lanczos", "hamming", "box", "nearest"),
    "middle": ("rounded", "floored"),
    "upright": (True, False),
}
_COUNTS = ("frames", "passes", "resize_to", "fill")
_INPUTS = {*_CHOICES, *_COUNTS, "image_size", "mean", "std", "stats"}


def _are_inputs(inputs: dict[str, Any]) -> bool:
    three = all(
        isinstance(inputs.get(name), list)
        and len(inputs[name]) == 3
        and all(map(_is_number, inputs[name]))
        for name in ("mean", "std")
    )
    counts = all(_is_count(inputs.get(name)) for name in _COUNTS)
    chosen = all(inputs.get(name) in allowed for name, allowed in _CHOICES.items())
    known = inputs.keys() == _INPUTS  # an ignored field would change the images
    if not (known and three and counts and chosen):
        return False
    ranges = (("mean", 0, 1), ("std", 1e-4, 1))  # of values in 0..1
    return all(low <= each <= high for name, low, high in ranges for each in inputs[name])


def _are_settings(settings: dict[str, Any]) -> bool:
    values = [v for each in settings.values() for v in (each if isinstance(each, list) else [each])]
    return all(value is None or isinstance(value, str | int | float) for value in values)


def _are_strings(values: list[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def _anything(value: Any) -> bool:
    return True


# Name, type and check of each field.
_FIELDS: list[tuple[str, type, Callable[[Any], bool]]] = [
    ("method", str, _anything),
    ("kind", str, ("images", "videos").__contains__),
    ("backbone", str, _anything),
    ("template", str, _anything),
    ("class_names", list, _are_strings),
    ("settings", dict, _are_settings),
    ("sizes", dict, _are_sizes),
    ("inputs", dict, _are_inputs),
    ("tokens", dict, bool),
    ("word_ids", list, lambda ids: all(map(_is_token, ids))),
    ("weights", dict, lambda means: all(map(_is_number, means.values()))),
    ("sha256", str, _anything),
    ("temperature", float, lambda value: _is_number(value) and value > 0),
]


def read_arrays(path: pathlib.Path, sha256: str) -> dict[str, Tensor]:
    """Returns the trained arrays by name.

    Raises:
        ValueError: the file is damaged, or does not belong to config.json.
    """
    check_regular(path)
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            found.update(chunk)
    if found.hexdigest() != sha256:
        raise ValueError(f"{path} does not match sha256 of config.json; export the model again")
    try:
        arrays = safetensors.torch.load_file(path)
    except Exception as error:  # safetensors' own, and KeyError for types that PyTorch lacks
        raise ValueError(f"{path} is damaged ({error}); export the model again") from None
    for name, array in arrays.items():
        if array.is_floating_point() and not torch.isfinite(array).all():
            raise ValueError(f"{path}: {name} holds NaN or infinite values")
    return arrays

"""Converts the preprocessing files of other libraries to fields of `Preprocessing`.

open_clip writes open_clip_config.json (`preprocess_cfg`), transformers 5 processor_config.json
(`image_processor`), earlier versions preprocessor_config.json.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

from prompt_jax.errors import shorten
from prompt_jax.inputs.images.preprocessing import (
    CHANNELS,
    CLIP,
    LARGEST,
    MOST_TIMES_RESIZED,
    Preprocessing,
)
from prompt_jax.storage import files

OPEN_CLIP, HUGGING_FACE = "open_clip_config.json", "preprocessor_config.json"
PROCESSOR = "processor_config.json"
TRANSFORMERS = (PROCESSOR, HUGGING_FACE)
MOST_BYTES = 2**20
_TO_255 = 1 / 255
# In the order of Pillow's filter numbers, which transformers writes.
_FILTERS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")

Number = Annotated[float, pydantic.Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
Pixels = Annotated[int, pydantic.Field(ge=1, le=LARGEST)]
Three = Annotated[list[Number], pydantic.Field(min_length=CHANNELS, max_length=CHANNELS)]


class _Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True, extra="forbid")


class _PreprocessCfg(_Strict):
    """open_clip's `PreprocessCfg`; the defaults are CLIP's."""

    size: Pixels | Annotated[list[Pixels], pydantic.Field(min_length=1, max_length=3)] | None = None
    mode: Literal["RGB"] = "RGB"
    mean: Three | Number | None = None
    std: Three | Number | None = None
    interpolation: Literal["bicubic", "bilinear", "random"] | None = None
    resize_mode: Literal["shortest", "longest", "squash"] | None = None
    fill_color: Annotated[int, pydantic.Field(ge=0, le=255)] | None = None


class _Size(_Strict):
    """transformers' `SizeDict`; the options that are None do not give images of one size."""

    height: Pixels | None = None
    width: Pixels | None = None
    shortest_edge: Pixels | None = None
    longest_edge: None = None
    max_height: None = None
    max_width: None = None


_Type = Literal[
    "CLIPImageProcessor",
    "CLIPImageProcessorFast",
    "CLIPImageProcessorPil",
    "CLIPFeatureExtractor",  # its name before transformers 4.26
]


class _ImageProcessor(_Strict):
    """transformers' `CLIPImageProcessor`; the defaults are CLIP's."""

    image_processor_type: _Type | None = None
    feature_extractor_type: _Type | None = None
    do_convert_rgb: bool | None = None  # images are always converted to RGB
    do_resize: bool = True
    size: Pixels | _Size | list[Pixels] | None = None
    default_to_square: bool = False
    resample: Annotated[int, pydantic.Field(ge=0, lt=len(_FILTERS))] | None = None
    do_center_crop: bool = True
    crop_size: Pixels | _Size | list[Pixels] | None = None
    do_rescale: bool = True
    rescale_factor: Annotated[Number, pydantic.Field(gt=0)] | None = None
    do_normalize: bool = True
    image_mean: Three | Number | None = None
    image_std: Three | Number | None = None
    data_format: Literal["channels_first"] | None = None


class _Processor(pydantic.BaseModel):
    """The used field of transformers' `CLIPProcessor`."""

    image_processor: dict[str, Any] | None = None


# Fields of some versions of transformers that do not affect the computation, like all names that
# begin with "_".
_IGNORED = (
    "processor_class",
    "auto_map",
    "transformers_version",
    "use_fast",
    "return_tensors",
    "input_data_format",
    "device",
    "disable_grouping",
    "image_seq_length",
)


def hugging_face(prepared: Preprocessing, image_size: int) -> dict[str, Any] | None:
    """Returns the content of a preprocessor_config.json with the same preprocessing.

    None if transformers does not support it: resizing of the longest side, or a fill color other
    than black. Its rounding of center crops may differ, see `Preprocessing.middle`.
    """
    side = prepared.resize_to or image_size
    sizes = {"shortest": {"shortest_edge": side}, "squash": {"height": side, "width": side}}
    if prepared.resize == "longest" or prepared.fill:
        return None
    size = {"size": sizes[prepared.resize]} if prepared.resize in sizes else {}
    return size | {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": prepared.resize != "none",
        "resample": _FILTERS.index(prepared.interpolation),
        "do_center_crop": True,
        "crop_size": {"height": image_size, "width": image_size},
        "do_rescale": True,
        "rescale_factor": _TO_255,
        "do_normalize": True,
        "image_mean": [*prepared.mean],
        "image_std": [*prepared.std],
    }


def content(path: Path) -> Any:
    """Reads the part of a file about images; None if the file or this part is absent.

    Raises:
        ValueError: the content is invalid.
        OSError: the file cannot be read.
    """
    try:
        found = files.read_json(path, MOST_BYTES)
    except FileNotFoundError:
        return None
    if path.name != PROCESSOR:
        return found
    return files.check(found, _Processor).image_processor


def _open_clip(content: Any, image_size: int) -> dict[str, Any]:
    if not isinstance(content, dict) or content.get("preprocess_cfg") is None:
        return {}
    try:
        cfg = files.check(content["preprocess_cfg"], _PreprocessCfg)
    except ValueError as error:
        raise ValueError(f"preprocess_cfg: {error}") from None
    size = cfg.size[-2:] if isinstance(cfg.size, list) else [cfg.size]
    if wrong := [side for side in size if side not in (None, image_size)]:
        raise ValueError(f"preprocess_cfg.size={wrong[0]}, but the weights take {image_size}")
    found: dict[str, Any] = {}
    for name in ("mean", "std"):
        if (numbers := getattr(cfg, name)) is not None:
            found[name] = _spread(numbers)
    if cfg.interpolation:  # "random" only concerns training
        found["interpolation"] = cfg.interpolation.replace("random", "bicubic")
    if cfg.resize_mode:
        found |= {"resize": cfg.resize_mode, "resize_to": 0}
    if cfg.fill_color is not None:
        found["fill"] = cfg.fill_color
    if found:
        found["middle"] = "rounded"
    return _checked(found)


def _hugging_face(content: Any, image_size: int) -> dict[str, Any]:
    if isinstance(content, dict):
        content = {
            name: value
            for name, value in content.items()
            if value is not None and name not in _IGNORED and not name.startswith("_")
            if name in _ImageProcessor.model_fields or value is not False
        }
    cfg = files.check(content, _ImageProcessor)
    found = _numbers(cfg)
    if cfg.resample is not None:
        found["interpolation"] = _FILTERS[cfg.resample]
    found |= _sizes(cfg, image_size)
    found = _checked(found)
    # The file of OpenAI's models belongs to weights that were trained with OpenAI's center crop.
    if found and Preprocessing(**found) != CLIP:
        found["middle"] = "floored"
    return found


def _numbers(cfg: _ImageProcessor) -> dict[str, Any]:
    """Returns mean and standard deviation for pixels in 0..1, including the rescale factor."""
    declared = (cfg.image_mean, cfg.image_std, cfg.rescale_factor)
    if cfg.do_normalize and cfg.do_rescale and declared == (None, None, None):
        return {}
    mean = CLIP.mean if cfg.image_mean is None else _spread(cfg.image_mean)
    std = CLIP.std if cfg.image_std is None else _spread(cfg.image_std)
    if not cfg.do_normalize:
        mean, std = (0.0,) * CHANNELS, (1.0,) * CHANNELS
    factor = (cfg.rescale_factor or _TO_255) if cfg.do_rescale else 1.0
    times = 255 * factor
    times = 1.0 if abs(times - 1) < 1e-9 else times  # files round 1/255
    return {"mean": tuple(m / times for m in mean), "std": tuple(s / times for s in std)}


def _sizes(cfg: _ImageProcessor, image_size: int) -> dict[str, Any]:
    kind, side = ("none", image_size) if not cfg.do_resize else _resize(cfg)
    crop = _square("crop_size", cfg.crop_size)
    if cfg.do_center_crop and crop not in (None, image_size):
        raise ValueError(f"crop_size={crop}, but the weights take {image_size}")
    if not cfg.do_center_crop and (kind, side or image_size) != ("squash", image_size):
        raise ValueError(
            f"do_center_crop=False with size={shorten(str(cfg.size))} does not give the "
            f"{image_size} x {image_size} images that the weights take"
        )
    if side and side > MOST_TIMES_RESIZED * image_size:
        raise ValueError(f"size={side} is more than {MOST_TIMES_RESIZED} times {image_size}")
    if not kind:
        return {}
    return {"resize": kind, "resize_to": 0 if side in (None, image_size) else side}


def _resize(cfg: _ImageProcessor) -> tuple[str, int | None]:
    """Returns the kind of resizing and the pixels of the side; "" if not declared."""
    size = cfg.size
    if size is None:
        return "", None
    if isinstance(size, _Size) and size.shortest_edge:
        if size.height or size.width:
            raise ValueError("size has shortest_edge and also height or width; keep one of them")
        return "shortest", size.shortest_edge
    if isinstance(size, int) and not cfg.default_to_square:
        return "shortest", size
    return "squash", _square("size", size)


def _square(name: str, size: int | _Size | list[int] | None) -> int | None:
    """Returns the side of a square size in one of transformers' forms."""
    if size is None or isinstance(size, int):
        return size
    sides = {size.height, size.width} if isinstance(size, _Size) else set(size)
    if len(sides) != 1 or None in sides:
        raise ValueError(f"{name}={shorten(str(size))} must be square; others are not supported")
    return sides.pop()


def _spread(numbers: list[float] | float) -> tuple[float, ...]:
    """Returns one number per channel; repeats a single number."""
    return tuple(numbers) if isinstance(numbers, list) else (numbers,) * CHANNELS


def _checked(fields: dict[str, Any]) -> dict[str, Any]:
    """Returns the fields as validated and converted by `Preprocessing`."""
    kept = Preprocessing(**fields)
    return {name: getattr(kept, name) for name in fields}


READERS: dict[str, Callable[[Any, int], dict[str, Any]]] = {
    OPEN_CLIP: _open_clip,
    PROCESSOR: _hugging_face,
    HUGGING_FACE: _hugging_face,
}

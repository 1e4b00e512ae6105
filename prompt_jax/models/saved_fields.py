"""Declares the schema of model.json: types, lengths, ranges and consistency of its fields.

All commands read models through it, so that none ignores a field that another obeys.
docs/run_files.md explains the fields.
"""

import dataclasses
from typing import Annotated, Any, Literal

import pydantic
from pydantic import ConfigDict, Field

from prompt_jax import methods
from prompt_jax.clip import PRECISIONS, CLIPConfig
from prompt_jax.clip.config import ACTIVATIONS
from prompt_jax.errors import PromptError
from prompt_jax.evaluation.confidence import COLDEST, HOTTEST
from prompt_jax.inputs.images.preprocessing import MOST_TIMES_RESIZED
from prompt_jax.inputs.preparation import CROPS, Inputs
from prompt_jax.inputs.videos.sampling import TEST_RULES
from prompt_jax.models import recorded
from prompt_jax.storage import schemas
from prompt_jax.storage.schemas import MOST_CHARACTERS, STRICT, Count, Text
from prompt_jax.text.class_names import check_names

MOST_BYTES = 16 * 2**20
"""Of model.json: 100,000 class names of 150 characters."""

MOST_CLASSES = 100_000
MOST_LAYERS = 256
MOST_FRAMES = 1_000
MOST_TRAINED = 2**20
DTYPES = ("float32", "bfloat16")
KINDS = ("images", "videos")
_EARLIER_KINDS = {"pictures": "images", "clips": "videos"}  # names of earlier versions
TASKS = ("classes", "captions")

_Layers = Annotated[int, Field(ge=1, le=MOST_LAYERS)]
_Name = Annotated[str, Field(min_length=1, max_length=200)]
_Path = Annotated[str, Field(min_length=1, max_length=4096)]
_Mean = Annotated[tuple[float, float, float], pydantic.BeforeValidator(schemas.as_tuple)]
_LAYERS = {"image_layers": _Layers, "text_layers": _Layers}
_SIZES: dict[str, Any] = {
    field.name: Count for field in dataclasses.fields(CLIPConfig) if field.type is int
}
_SIZES |= {**_LAYERS, "activation": Literal[*ACTIVATIONS]}
_INPUTS = {
    "image_size": Count,
    "frames": Annotated[int, Field(ge=0, le=MOST_FRAMES)],
    "passes": Count,
    "mean": _Mean,
    "std": _Mean,
}


def _check_name(name: str) -> str:
    if not name.strip():
        raise ValueError("a class name must not be empty")
    return name


def _read_kind(kind: object) -> object:
    return _EARLIER_KINDS.get(kind, kind) if isinstance(kind, str) else kind


_ClassName = Annotated[str, Field(max_length=MOST_CHARACTERS), pydantic.AfterValidator(_check_name)]


_Names = Annotated[
    tuple[_ClassName, ...],
    pydantic.BeforeValidator(schemas.as_tuple),
    Field(max_length=MOST_CLASSES),
]


class Arrays(pydantic.BaseModel):
    """The field `prompts`: name, digest and arrays of prompts.safetensors."""

    model_config = STRICT
    file: Literal["prompts.safetensors"]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    arrays: Annotated[
        dict[_Name, Annotated[str, Field(pattern=r"^\w{1,20}\[[\d, ]{0,100}\]$")]],
        Field(max_length=schemas.MOST_CHARACTERS),
    ]


class Trained(pydantic.BaseModel):
    """The field `trained`: a record of the training, with types where tables and cards read it."""

    model_config = ConfigDict(**{**STRICT, "extra": "allow"})
    dataset: recorded.Name | None = None
    domain: Text | None = None
    protocol: recorded.Name | None = None
    ablation: recorded.Name | None = None
    variant: recorded.Name | None = None
    features: Text | None = None
    git_commit: Text | None = None
    note: Text | None = None
    date: Text | None = None
    init_from: Text | None = None
    by: recorded.Name | None = None
    shots: recorded.Count | None = None
    shots_per_class: recorded.LeastAndMost | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**64)] | None = None
    views: Annotated[int, Field(ge=0, le=MOST_FRAMES)] | None = None
    epochs: recorded.Count | None = None
    batch_size: recorded.Count | None = None
    learning_rate: recorded.Amount | None = None
    trainable_parameters: recorded.Count | None = None
    accuracy: recorded.Percentages | None = None
    zero_shot: recorded.Percentages | None = None
    h: recorded.Percent | None = None
    chosen: recorded.Chosen | None = None
    calibration: recorded.Calibration | None = None
    config: recorded.Config | None = None


def schema(saved: type) -> type[pydantic.BaseModel]:
    """Returns the schema of model.json.

    Args:
        saved: the dataclass `saved.Saved`.
    """
    fields = schemas.of_dataclass(
        saved,
        method=_Name,
        kind=Annotated[Literal[*KINDS], pydantic.BeforeValidator(_read_kind)],
        task=Literal[*TASKS],
        settings=dict[str, Any],
        class_names=_Names,
        backbone=_Path,
        backbone_hash=Annotated[str, Field(pattern="^[0-9a-f]{16}$")],
        activation=Literal["", *ACTIVATIONS],
        dtype=Literal[*DTYPES],
        precision=Literal[*PRECISIONS],
        class_ids=_Names,
        sizes=dict[str, Any],
        inputs=dict[str, Any],
        trained=Annotated[Trained, schemas.at_most(MOST_TRAINED)],
        prompts=Arrays,
        texts=Annotated[str, Field(pattern="^([0-9a-f]{64})?$")],
        temperature=Annotated[float, Field(ge=COLDEST, le=HOTTEST)],
    )
    digest = Annotated[str, Field(max_length=64)]
    return pydantic.create_model("Model", __base__=fields, format=(int, ...), digest=(digest, ""))


def make_sizes(content: dict[str, Any]) -> CLIPConfig:
    """Returns the backbone's sizes; raises a PromptError that names the field."""
    return schemas.make(CLIPConfig, content, "sizes", **_SIZES)


def make_inputs(content: dict[str, Any]) -> Inputs:
    """Returns the preprocessing of inputs; raises a PromptError that names the field."""
    return schemas.make(Inputs, content, "inputs", **_INPUTS)


def check_agreement(model: Any) -> None:
    """Checks that the fields of a `saved.Saved` are consistent.

    Raises:
        PromptError: two fields contradict each other, or this version does not know the method or
            its settings.
    """
    method = methods.find(model.method, model.kind, model.task)
    settings: Any = schemas.make(method.Settings, model.settings, "settings")
    methods.check_bounds(settings)
    if model.template.count("{}") != 1:
        raise PromptError(
            f'template: {model.template[:80]!r} must contain "{{}}" once, for the class name'
        )
    try:
        check_names(model.class_names, may_repeat=True)
    except PromptError as error:
        raise PromptError(f"class_names: {error}") from None
    if model.task == "captions" and (model.class_names or model.kind != "videos"):
        raise PromptError("task: 'captions' needs kind 'videos' and empty class_names")
    if model.activation not in ("", model.sizes.activation):
        raise PromptError(
            f"activation: {model.activation!r}, but sizes.activation is "
            f"{model.sizes.activation!r}; both must be the same, or the first empty"
        )
    if model.class_ids and len(model.class_ids) != len(model.class_names):
        raise PromptError(
            f"class_ids: {len(model.class_ids)} of them, but {len(model.class_names)} class_names"
        )
    inputs = model.inputs
    if inputs.image_size != model.sizes.image_size:
        raise PromptError(
            f"inputs.image_size: {inputs.image_size}, but sizes.image_size is "
            f"{model.sizes.image_size}; both must be the same"
        )
    if bool(inputs.frames) != (model.kind == "videos"):
        raise PromptError(f"inputs.frames: {inputs.frames}, but kind is {model.kind!r}")
    rules = TEST_RULES if inputs.frames else ("",)
    if inputs.frame_rule not in rules:
        raise PromptError(f"inputs.frame_rule: {inputs.frame_rule!r} is not one of {rules}")
    crops = tuple(CROPS) if inputs.frames else ("clip",)
    if inputs.crop not in crops:
        raise PromptError(f"inputs.crop: {inputs.crop!r} is not one of {crops}")
    if inputs.frames and getattr(settings, "frames", 0) not in (0, inputs.frames):
        raise PromptError(
            f"settings.frames: {settings.frames}, but inputs.frames is {inputs.frames}; both must "
            "be the same"
        )
    methods.check_frame_groups(method, settings, inputs.frames, "inputs.frames")
    if inputs.resize_to > MOST_TIMES_RESIZED * inputs.image_size:
        raise PromptError(
            f"inputs.resize_to: {inputs.resize_to} is more than {MOST_TIMES_RESIZED} times "
            f"inputs.image_size, {inputs.image_size}"
        )

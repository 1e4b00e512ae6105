"""The schemas of results.json and evaluations.json, checked before anything reads them."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from prompt_jax.models import recorded
from prompt_jax.models.recorded import (
    Amount,
    Chosen,
    Config,
    Count,
    Key,
    LeastAndMost,
    Name,
    Number,
    Pair,
    Percent,
    Percentages,
    check_key,
)
from prompt_jax.storage import files

MOST_BYTES = 32 * 2**20
"""Of a results.json; with 22,000 classes it takes 10 MB."""


class _Part(pydantic.BaseModel):
    """A part of a file; earlier versions wrote fewer fields, later ones may write more."""

    model_config = pydantic.ConfigDict(strict=True, extra="allow")


class _Hashes(_Part):
    train: str | None
    tests: dict[Key, str]
    sizes: dict[str, Any] | None = None
    contents: dict[str, Any] | None = None


class _Start(_Part):
    prompts: str


class _Source(_Part):
    protocol: Name
    config: dict[str, Any]
    folder: str = ""
    prompts: str = ""
    training_list: dict[Name, Name] | None = None


class _Ways(pydantic.BaseModel, strict=True, extra="forbid"):
    t2v: dict[Name, Number]
    v2t: dict[Name, Number]


class _WayIntervals(pydantic.BaseModel, strict=True, extra="forbid"):
    t2v: dict[Name, Pair]
    v2t: dict[Name, Pair]


class _TextsRead(_Part):
    file: str
    digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Second(_Part):
    source: str
    hash: Annotated[str, Field(pattern="^[0-9a-f]{16}$")]


class _OfClass(_Part):
    examples: Count
    accuracy: Percent


class _OptionalFields(_Part):
    """Fields beside the results, which are left out alone if they are damaged."""

    top5: Percentages | None = None
    zero_shot_top5: Percentages | None = None
    interval: dict[Key, Pair] | None = None
    zero_shot_interval: dict[Key, Pair] | None = None
    calibration_error: Percentages | None = None
    zero_shot_calibration_error: Percentages | None = None
    confidence: Percentages | None = None
    zero_shot_confidence: Percentages | None = None
    class_accuracy: dict[Key, list[_OfClass]] | None = None
    macro_accuracy: Percentages | None = None
    zero_shot_macro_accuracy: Percentages | None = None
    rank_intervals: dict[Key, _WayIntervals] | None = None
    zero_shot_rank_intervals: dict[Key, _WayIntervals] | None = None
    data_notes: list[str] | None = None
    note: str | None = None
    trainable_parameters: Count | None = None
    train_seconds: Amount | None = None
    trained_together: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    images_per_second: Amount | None = None


class Results(_OptionalFields):
    """The fields that every run writes, then those of some runs or of later versions."""

    method: Name
    protocol: Name
    backbone: Name
    backbone_hash: Name
    dataset: Name
    shots: Count
    seed: Annotated[int, Field(ge=0, lt=2**53)]
    zero_shot: Percentages
    config: Config

    accuracy: Percentages | None = None
    base: Percent | None = None
    new: Percent | None = None
    h: Percent | None = None
    kind: Literal["images", "videos"] | None = None
    ablation: Name | None = None
    variant: Name | None = None
    split_source: str | None = None
    split_sources: dict[Name, str] | None = None
    features: str | None = None
    devices: str | None = None
    shots_per_class: LeastAndMost | None = None
    per_iteration: dict[Key, Annotated[list[Percent], Field(max_length=1000)]] | None = None
    classes: dict[Key, Count] | None = None
    captions: dict[Key, Count] | None = None
    pictures: dict[str, Count] | None = None
    chosen: Chosen | None = None
    calibration: recorded.Calibration | None = None
    data_hash: str | None = None
    data_hashes: _Hashes | None = None
    training_list: dict[Name, Name] | None = None
    init_from: _Start | None = None
    source: _Source | None = None
    seen: dict[str, Any] | None = None
    ranks: dict[Key, _Ways] | None = None
    zero_shot_ranks: dict[Key, _Ways] | None = None
    skipped_pictures: list[str] | None = None
    replacements: list[str] | None = None
    preprocessing: dict[str, Any] | None = None
    texts: _TextsRead | None = None
    second_backbone: _Second | None = None


class Evaluation(_Part):
    """The fields of evaluations.json for one test set that results are made of."""

    hash: str
    accuracy: Percent
    zero_shot: Percent
    per_iteration: Annotated[list[Percent], Field(min_length=1, max_length=1000)]
    classes: Count
    pictures: Annotated[int, Field(ge=1, lt=2**53)]
    seconds: Amount
    split_source: str
    captions: Count | None = None
    top5: Percent | None = None
    zero_shot_top5: Percent | None = None
    interval: Pair | None = None
    zero_shot_interval: Pair | None = None
    calibration_error: Percent | None = None
    zero_shot_calibration_error: Percent | None = None
    confidence: Percent | None = None
    zero_shot_confidence: Percent | None = None
    class_accuracy: list[_OfClass] | None = None
    ranks: _Ways | None = None
    zero_shot_ranks: _Ways | None = None
    rank_intervals: _WayIntervals | None = None
    zero_shot_rank_intervals: _WayIntervals | None = None


OPTIONAL_FIELDS = frozenset(_OptionalFields.model_fields)
NO_OBJECT = "it holds no JSON object"


def check(content: Any) -> tuple[dict[str, Any], list[str]]:
    """Returns a results.json without damaged `OPTIONAL_FIELDS`, and a line for each of these.

    Raises:
        ValueError: it is not a JSON object, or another field is damaged; names the field.
    """
    if not isinstance(content, dict):
        raise ValueError(NO_OBJECT)
    try:
        Results.model_validate(content)
    except pydantic.ValidationError as error:
        damaged = {str(each["loc"][0]) for each in error.errors(include_url=False)}
    else:
        return content, []
    rest = {name: value for name, value in content.items() if name not in damaged & OPTIONAL_FIELDS}
    files.check(rest, Results)
    return rest, [
        _explain(rest | {name: content[name]}) for name in sorted(damaged & OPTIONAL_FIELDS)
    ]


def _explain(content: Mapping[str, Any]) -> str:
    """Returns what is wrong with content that has one damaged field."""
    try:
        files.check(content, Results)
    except ValueError as error:
        return str(error)
    return ""


def read(path: pathlib.Path) -> tuple[dict[str, Any], list[str]]:
    """Reads a results.json, see `check`.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not a regular file, too large, not JSON, or its digest or a field is
            wrong.
    """
    content = files.read_json(path, MOST_BYTES)
    if isinstance(content, dict):
        files.check_seal(content)
    return check(content)


def check_evaluations(content: Any) -> dict[str, dict[str, Any]]:
    """Returns the content of an evaluations.json, by test set.

    Raises:
        ValueError: it is damaged.
    """
    if not isinstance(content, dict):
        raise ValueError(NO_OBJECT)
    for key, one in content.items():
        check_key(key)
        files.check(one, Evaluation)
    return content


def left_out(path: pathlib.Path, problems: Sequence[str]) -> list[str]:
    """Returns a line for each damaged field that `read` left out."""
    return [f"{path}: left out a damaged field: {problem}" for problem in problems]

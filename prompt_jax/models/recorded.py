"""Declares types of training records: in results.json, and in `trained` of model.json."""

from typing import Annotated, Any

import pydantic
from pydantic import Field

_LONGEST_KEY = 200  # bytes; it is part of file names


def check_key(key: str) -> str:
    """Returns the key of a test set; raises a ValueError if it cannot be part of a file name."""
    if not key or "/" in key or not key.isprintable() or len(key.encode()) > _LONGEST_KEY:
        raise ValueError(f"must be a valid file name of 1 to {_LONGEST_KEY} bytes")
    return key


Key = Annotated[str, pydantic.AfterValidator(check_key)]  # of a test set
Name = Annotated[str, Field(max_length=1000)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Percent = Annotated[float, Field(ge=0, le=100.01)]  # rounding
Count = Annotated[int, Field(ge=0, lt=2**53)]
Pair = Annotated[list[Number], Field(min_length=2, max_length=2)]
Percentages = Annotated[dict[Key, Percent], Field(max_length=1000)]


def _check_order(pair: list[int]) -> list[int]:
    if pair[0] > pair[1]:
        raise ValueError("must be the smallest number, then the largest")
    return pair


LeastAndMost = Annotated[
    list[Count], Field(min_length=2, max_length=2), pydantic.AfterValidator(_check_order)
]


class Chosen(pydantic.BaseModel):
    """Settings selected on validation data, see `methods.selection.Choice`."""

    model_config = pydantic.ConfigDict(strict=True, extra="allow")
    values: dict[Name, Number] = Field(default_factory=dict)
    by: Name = ""


class Calibration(pydantic.BaseModel):
    """The temperature and its evidence, see `evaluation.confidence.Calibration`."""

    model_config = pydantic.ConfigDict(strict=True, extra="allow")
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    by: Name = ""
    images: Count = 0
    calibration_error_before: Percent = 0.0
    calibration_error_after: Percent = 0.0


class Config(pydantic.BaseModel):
    """The fields of a config that tables and averages read."""

    model_config = pydantic.ConfigDict(strict=True, extra="allow")
    data: dict[str, Any] = Field(default_factory=dict)
    settings: dict[str, Any] = Field(default_factory=dict)
    backbone: str = ""

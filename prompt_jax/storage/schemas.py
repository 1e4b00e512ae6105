"""Makes schemas of file contents from the dataclasses that they become."""

import dataclasses
import json
import typing
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import pydantic
from pydantic import BeforeValidator, ConfigDict, Field

from prompt_jax.errors import PromptError
from prompt_jax.storage.files import check

MOST_NUMBER = 10**6
"""Largest size, length or count; the largest in any CLIP is the vocabulary size."""

MOST_CHARACTERS = 10_000
"""Longest text, as for the tokenizer."""

STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=True)

Made = TypeVar("Made")

Count = Annotated[int, Field(ge=1, le=MOST_NUMBER)]
Whole = Annotated[int, Field(ge=-MOST_NUMBER, le=MOST_NUMBER)]
Text = Annotated[str, Field(max_length=MOST_CHARACTERS)]


def at_most(characters: int) -> BeforeValidator:
    """Returns a validator that bounds the length of a value as JSON."""

    def bound(value: Any) -> Any:
        if (length := len(json.dumps(value))) > characters:
            raise ValueError(f"it has {length:,} characters as JSON; at most {characters:,}")
        return value

    return BeforeValidator(bound)


def of_dataclass(cls: type, **declared: Any) -> type[pydantic.BaseModel]:
    """Returns the strict schema of a dataclass.

    Lists become tuples, which JSON does not have. Whole numbers and texts are bounded.

    Args:
        cls: a dataclass.
        **declared: types of fields that are narrower than those of the dataclass.
    """
    hints = typing.get_type_hints(cls)
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(cls):
        declaration = declared.get(field.name) or _bounded(hints[field.name])
        fields[field.name] = (declaration, _default(field))
    return pydantic.create_model(cls.__name__, __config__=STRICT, **fields)


def make(cls: type[Made], content: Mapping[str, Any], what: str, **declared: Any) -> Made:
    """Returns the dataclass that a JSON object describes.

    Args:
        cls: a dataclass, which may check ranges itself.
        content: its fields; missing ones get their defaults.
        what: its name in messages, e.g. "settings".
        **declared: see `of_dataclass`.

    Raises:
        PromptError: a field is missing, unknown, of a wrong type, or out of range.
    """
    try:
        checked = check(content, of_dataclass(cls, **declared))
        return cls(**{name: getattr(checked, name) for name in checked.model_fields_set})
    except ValueError as error:  # PromptError is one
        raise PromptError(f"{what}: {error}") from None


def _bounded(hint: Any) -> Any:
    if hint is int:
        return Whole
    if hint is str:
        return Text
    if typing.get_origin(hint) is tuple:
        return Annotated[hint, BeforeValidator(as_tuple)]
    return hint


def as_tuple(value: Any) -> Any:
    """Returns a list as a tuple, and any other value unchanged."""
    return tuple(value) if isinstance(value, list) else value


def _default(field: dataclasses.Field) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return Field(default_factory=field.default_factory)
    return ...

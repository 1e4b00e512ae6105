"""Declared schemas of what files hold, made from the dataclasses that it becomes."""

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
"""Of whole numbers that are sizes, lengths or counts; the largest of any CLIP is a vocabulary."""

MOST_CHARACTERS = 10_000
"""Of any text: the tokenizer takes no more either."""

STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=True)

Made = TypeVar("Made")

Count = Annotated[int, Field(ge=1, le=MOST_NUMBER)]
Whole = Annotated[int, Field(ge=-MOST_NUMBER, le=MOST_NUMBER)]
Text = Annotated[str, Field(max_length=MOST_CHARACTERS)]


def at_most(characters: int) -> BeforeValidator:
    """Returns what bounds a value that may hold fields of any name: so many characters of JSON."""

    def bound(value: Any) -> Any:
        if (length := len(json.dumps(value))) > characters:
            raise ValueError(f"it has {length:,} characters of JSON; at most {characters:,}")
        return value

    return BeforeValidator(bound)


def of_dataclass(cls: type, **declared: Any) -> type[pydantic.BaseModel]:
    """Returns the schema of a dataclass: its fields with their types, no others.

    Lists become tuples, as JSON has lists alone. Whole numbers and texts are bounded.

    Args:
        cls: a dataclass.
        **declared: types of fields that are narrower than the dataclass's.
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
        content: its fields; those that are missing have their defaults.
        what: what errors call it: "settings".
        **declared: see `of_dataclass`.

    Raises:
        PromptError: a field is missing, unknown, of another type, or out of its range.
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
    """Returns a list as a tuple, all else as it is: a text is no tuple of its letters."""
    return tuple(value) if isinstance(value, list) else value


def _default(field: dataclasses.Field) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return Field(default_factory=field.default_factory)
    return ...

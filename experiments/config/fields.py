"""Declares fields of a dataclass: help, allowed values and role in a run's identity."""

import dataclasses
import functools
import math
import sys
import types
import typing
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal, cast

from prompt_jax.errors import PromptError, check_type, unknown

Role = Literal["figures", "run", "free"]
"""Role of a field in a run's identity:

- "figures": part of the identity; results with different values are not averaged;
- "run": part of the identity; averages are over several values of it;
- "free": not part of the identity; it may change when a run resumes.
"""
WHOLE = "whole numbers, e.g. 1,2,3"
_KEY = "declared"


@dataclasses.dataclass(frozen=True)
class Declared:
    """The declaration of a field, apart from its type.

    Attributes:
        default: the value if none is given.
        help: one or two sentences for --help.
        choices: allowed strings; a `Literal` type states its own.
        at_least, above, below, at_most: range of a number, or of all numbers in a tuple.
        form: describes the elements of a tuple in messages: "whole numbers, e.g. 1,2,3".
        unit: unit of a number, for --help.
        role: role in a run's identity; see `Role`.
        affects: "tests" if it changes how test data are read and computed, for any method;
            "training" if it changes only the training data.
        since: date of introduction; configs of earlier runs lack the field and mean the default.
    """

    default: Any
    help: str
    choices: Collection[str] = ()
    at_least: float | None = None
    above: float | None = None
    below: float | None = None
    at_most: float | None = None
    form: str = ""
    unit: str = ""
    role: Role = "figures"
    affects: Literal["", "tests", "training"] = ""
    since: str = ""

    @property
    def range(self) -> str:
        """Returns the range in words; "" if there is none."""
        words = {
            "at least": self.at_least,
            "above": self.above,
            "below": self.below,
            "at most": self.at_most,
        }
        return " and ".join(f"{word} {bound}" for word, bound in words.items() if bound is not None)

    def contains(self, number: float) -> bool:
        """Returns whether a number is finite and within the range."""
        return (
            -math.inf < number < math.inf  # False for NaN
            and (self.at_least is None or number >= self.at_least)
            and (self.above is None or number > self.above)
            and (self.below is None or number < self.below)
            and (self.at_most is None or number <= self.at_most)
        )


def field(default: Any, help: str, **declared: Any) -> Any:
    """Returns a dataclass field with its `Declared`; see there for the arguments."""
    return dataclasses.field(default=default, metadata={_KEY: Declared(default, help, **declared)})


@functools.cache
def declared(cls: type, prefix: str = "") -> Mapping[str, Declared]:
    """Returns the declarations of a dataclass by name, with sections, e.g. "data.shots"."""
    found: dict[str, Declared] = {}
    for one, hint in _fields(cls):
        if dataclasses.is_dataclass(hint):
            found |= declared(cast(type, hint), f"{prefix}{one.name}.")
        elif _KEY in one.metadata:
            choices = _literals(hint) or one.metadata[_KEY].choices
            found[prefix + one.name] = dataclasses.replace(one.metadata[_KEY], choices=choices)
    return types.MappingProxyType(found)


def build(cls: Any, section: Mapping[str, Any], prefix: str = "") -> Any:
    """Builds a dataclass from a mapping; lists become tuples.

    Raises:
        PromptError: a field is unknown, missing, of another type or out of its range.
    """
    hints = {one.name: hint for one, hint in _fields(cls)}
    if wrong := next((key for key in section if key not in hints), None):
        raise unknown("config key", f"{prefix}{wrong}", (f"{prefix}{key}" for key in hints))
    if missing := sorted(f"config.{prefix}{key}" for key in hints if key not in section):
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise PromptError(
            f"the config lacks {', '.join(missing[:3])}{more}; start from the config of "
            "experiments/configs/default.py"
        )
    values = {}
    for name, hint in hints.items():
        value = section[name]
        if dataclasses.is_dataclass(hint):
            check_type(f"config.{prefix}{name}", value, dict)
            values[name] = build(hint, value, f"{prefix}{name}.")
        else:
            values[name] = _checked(f"config.{prefix}{name}", value, hint, declared(cls).get(name))
    return cls(**values)


def _checked(path: str, value: Any, hint: Any, declaration: Declared | None) -> Any:
    kind = dict if declaration is None else typing.get_origin(hint) or hint
    kind = str if kind is Literal else kind
    check_type(path, value, kind)
    if declaration is None:  # settings, which the method checks
        return dict(value)
    value = _as_tuples(value)
    if declaration.choices and value not in declaration.choices:
        raise unknown(f"value of {path}:", value, declaration.choices)
    if kind is tuple and not _matches(value, hint):
        element = typing.get_args(hint)[0]
        wrong = next((one for one in value if not _matches(one, element)), value)
        raise PromptError(f"{path} has {wrong!r}; it must be {declaration.form}")
    numbers = list(_numbers(value)) if declaration.range else []
    most = sys.float_info.max if float in (hint, *typing.get_args(hint)) else math.inf
    if not all(declaration.contains(one) and abs(one) <= most for one in numbers):
        form = declaration.form or ("a finite number" if kind is float else "")
        limits = ", ".join(filter(None, [form, declaration.range]))
        raise PromptError(f"{path}={value} must be {limits}")
    return value


def _matches(value: Any, hint: Any) -> bool:
    """Returns whether a value has a type: int, float, str, Any, or a tuple of these."""
    if typing.get_origin(hint) is not tuple:
        kinds: Any = {float: (int, float), Any: object}.get(hint, hint)
        return isinstance(value, kinds) and (hint is Any or not isinstance(value, bool))
    if not isinstance(value, tuple):
        return False
    inner = typing.get_args(hint)
    hints = inner[:1] * len(value) if inner[-1] is Ellipsis else inner
    return len(value) == len(hints) and all(map(_matches, value, hints))


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, tuple):
        for one in value:
            yield from _numbers(one)
    else:
        yield value


def _as_tuples(value: Any) -> Any:
    return tuple(map(_as_tuples, value)) if isinstance(value, list | tuple) else value


def _literals(hint: Any) -> tuple[str, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) is Literal else ()


def _fields(cls: Any) -> list[tuple[dataclasses.Field, Any]]:
    hints = typing.get_type_hints(cls)
    return [(one, hints[one.name]) for one in dataclasses.fields(cls)]

"""Methods by name, listed from the records in `images/` and `video/`."""

import dataclasses
import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any

from prompt_jax.errors import PromptError, unknown
from prompt_jax.methods import outside
from prompt_jax.methods.bounds import find_beyond
from prompt_jax.methods.encoders import Encoders
from prompt_jax.methods.inputs import (
    Views,
    average_frames,
    check_frame_groups,
    encode_input,
    encode_views,
    find_encoder,
    split_views,
    tower_for,
)
from prompt_jax.methods.method import (
    Method,
    Output,
    Pairs,
    Prompts,
    Task,
    make_task,
)
from prompt_jax.methods.objectives import recognize, retrieve
from prompt_jax.methods.record import Record
from prompt_jax.text.class_names import UNSEEN, index_trained


def _list_records(folder: str) -> dict[str, Record]:
    """Collects the `RECORD` or `RECORDS` of each module in a folder, oldest first.

    Raises:
        ValueError: two records have the same name.
    """
    package = importlib.import_module(f"{__name__}.{folder}")
    found: dict[str, tuple[Record, str]] = {}
    for file in pkgutil.iter_modules(package.__path__):
        contents = vars(importlib.import_module(f"{package.__name__}.{file.name}"))
        for one in contents.get("RECORDS") or [contents["RECORD"]]:
            if one.name in found:
                raise ValueError(
                    f"methods/{folder}: {found[one.name][1]}.py and {file.name}.py both have a "
                    f"record named {one.name!r}; rename one of them"
                )
            found[one.name] = one, file.name
    records = [one for one, _ in found.values()]
    return {one.name: one for one in sorted(records, key=lambda one: (one.appeared, one.name))}


RECORDS = {"images": _list_records("images"), "videos": _list_records("video")}
"""The records of all methods, by "images" or "videos" and name."""

METHODS: dict[str, Method] = {
    name: one.method for name, one in RECORDS["images"].items() if isinstance(one.method, Method)
}
"""Image methods by name."""

ENCODERS: dict[str, Encoders] = {
    name: one.method for name, one in RECORDS["videos"].items() if isinstance(one.method, Encoders)
}
"""Methods of videos and texts by name, without an objective: see `objectives`."""

__all__ = [
    "ENCODERS",
    "METHODS",
    "RECORDS",
    "UNSEEN",
    "Encoders",
    "Method",
    "Output",
    "Pairs",
    "Prompts",
    "Record",
    "Task",
    "Views",
    "average_frames",
    "check_bounds",
    "check_frame_groups",
    "encode_input",
    "encode_views",
    "find",
    "find_encoder",
    "find_record",
    "get",
    "get_encoders",
    "index_trained",
    "make_task",
    "of_images",
    "of_texts",
    "outside",
    "recognize",
    "retrieve",
    "split_views",
    "tower_for",
]


def get(name: str) -> Method:
    """Returns an image method.

    Raises:
        PromptError: there is none, with close matches and all names; or it is a method from outside
            that cannot be used, see `outside.find`.
    """
    if found := of_images(name):
        return found
    why_not = "works on videos and texts, not on single images"
    raise _absence(name, METHODS, ENCODERS, why_not)


def get_encoders(name: str) -> Encoders:
    """Returns a method of videos and texts.

    Raises:
        PromptError: see `get`.
    """
    if found := of_texts(name):
        return found
    why_not = "classifies images, and cannot encode other texts"
    raise _absence(name, ENCODERS, METHODS, why_not)


def find(name: str, kind: str, task: str = "classes") -> Method:
    """Returns a method that classifies "images" or "videos".

    A method that was trained on "captions" encodes class names as captions.

    Raises:
        PromptError: there is none.
    """
    if kind == "videos" and (task == "captions" or not of_images(name)):
        return recognize(get_encoders(name))
    return get(name)


def find_record(name: str, kind: str) -> Record | None:
    """Returns the record of a method; for "videos", of the image method if there is no other.

    None for a method from outside.
    """
    return RECORDS[kind].get(name) or RECORDS["images"].get(name)


def of_images(name: str) -> Method | None:
    """Returns an image method as `get` does, or None if there is none."""
    if not outside.is_outside(name):
        return METHODS.get(name)
    found = outside.find(name)
    return found if isinstance(found, Method) else None


def of_texts(name: str) -> Encoders | None:
    """Returns a method of videos and texts as `get_encoders` does, or None if there is none."""
    if not outside.is_outside(name):
        return ENCODERS.get(name)
    found = outside.find(name)
    return found if isinstance(found, Encoders) else None


def check_bounds(settings: Any) -> None:
    """Raises a PromptError that names the first setting of any method beyond `bounds`."""
    if problem := find_beyond(dataclasses.asdict(settings)):
        raise PromptError(f"settings.{problem}")


def _absence(
    name: str, table: Mapping[str, object], others: Mapping[str, object], why_not: str
) -> PromptError:
    if name in others or outside.is_outside(name):
        return PromptError(f"method {name!r} {why_not}. Use one of {', '.join(sorted(table))}")
    return unknown("method", name, table)

"""The methods by name, as the records of the files in `images/` and `video/` have them."""

import importlib
import pkgutil

from prompt_jax.errors import PromptError, unknown
from prompt_jax.methods import outside
from prompt_jax.methods.encoders import Encoders
from prompt_jax.methods.frames import average_frames, tower_for
from prompt_jax.methods.method import (
    Method,
    Output,
    Pairs,
    Prompts,
    Task,
    check_bounds,
    index_trained,
    look,
    make_task,
)
from prompt_jax.methods.objectives import recognize, retrieve
from prompt_jax.methods.record import Record
from prompt_jax.text.class_names import UNSEEN


def _list_records(folder: str) -> dict[str, Record]:
    """The records of a folder's files, each `RECORD` or several `RECORDS`, oldest first."""
    package = importlib.import_module(f"{__name__}.{folder}")
    found: list[Record] = []
    for file in pkgutil.iter_modules(package.__path__):
        contents = vars(importlib.import_module(f"{package.__name__}.{file.name}"))
        found += contents.get("RECORDS") or [contents["RECORD"]]
    return {one.name: one for one in sorted(found, key=lambda one: (one.appeared, one.name))}


RECORDS = {"images": _list_records("images"), "videos": _list_records("video")}
"""What is known of each method, by what it takes and its name."""

METHODS: dict[str, Method] = {
    name: one.method for name, one in RECORDS["images"].items() if isinstance(one.method, Method)
}
"""Methods of images."""

ENCODERS: dict[str, Encoders] = {
    name: one.method for name, one in RECORDS["videos"].items() if isinstance(one.method, Encoders)
}
"""Methods of videos and texts, without what they are trained for: see `objectives`."""

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
    "average_frames",
    "check_bounds",
    "find",
    "find_record",
    "get",
    "get_encoders",
    "index_trained",
    "look",
    "make_task",
    "of_images",
    "of_texts",
    "outside",
    "recognize",
    "retrieve",
    "tower_for",
]


def get(name: str) -> Method:
    """The method of images of that name.

    Raises:
        PromptError: there is none, with close matches and the whole list; or it is one from
            outside that cannot be had, see `outside.find`.
    """
    if found := of_images(name):
        return found
    why_not = "works on videos and texts, not on single images"
    raise _absence(name, METHODS, ENCODERS, why_not)


def get_encoders(name: str) -> Encoders:
    """The method of videos and texts of that name.

    Raises:
        PromptError: see `get`.
    """
    if found := of_texts(name):
        return found
    why_not = "tells classes apart, and cannot encode any other text"
    raise _absence(name, ENCODERS, METHODS, why_not)


def find(name: str, kind: str, task: str = "classes") -> Method:
    """The method of that name for "images" or "videos", as it tells classes apart.

    One that was trained to tell "captions" apart takes classes for captions.

    Raises:
        PromptError: there is none.
    """
    if kind == "videos" and (task == "captions" or not of_images(name)):
        return recognize(get_encoders(name))
    return get(name)


def find_record(name: str, kind: str) -> Record | None:
    """The record of a method of "images" or "videos"; of "videos" also one of images, if no other.

    None for a method from outside.
    """
    return RECORDS[kind].get(name) or RECORDS["images"].get(name)


def of_images(name: str) -> Method | None:
    """As `get`, None where there is no method of images of that name."""
    if not outside.is_outside(name):
        return METHODS.get(name)
    found = outside.find(name)
    return found if isinstance(found, Method) else None


def of_texts(name: str) -> Encoders | None:
    """As `get_encoders`, None where there is no method of videos and texts of that name."""
    if not outside.is_outside(name):
        return ENCODERS.get(name)
    found = outside.find(name)
    return found if isinstance(found, Encoders) else None


def _absence(name, table, others, why_not):
    if name in others or outside.is_outside(name):
        return PromptError(f"method {name!r} {why_not}. Use one of {', '.join(sorted(table))}")
    return unknown("method", name, table)

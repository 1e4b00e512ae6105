"""Loads a data set by its name."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from data_pipelines.catalog.entry import Entry
from data_pipelines.catalog.table import TABLE
from data_pipelines.errors import DataError, unknown
from data_pipelines.examples import Dataset, check_names
from data_pipelines.layouts import tfds_source
from data_pipelines.layouts.vifi_lists import VifiLayout

__all__ = [
    "SOURCES",
    "TABLE",
    "Entry",
    "entry",
    "has_published_parts",
    "load",
    "parts",
    "split_domain",
]

SOURCES = ("coop", "tfds")


def load(
    name: str, root: str | Path | None = None, source: str = "coop", **options: Any
) -> Dataset:
    """Loads the lists of a data set; images are read later, one by one.

    Args:
        name: a key of `TABLE`, or "key:domain", which sets the option `domain`.
        root: the directory that contains the data set's directory, or that directory itself; for
            `source="tfds"` TFDS's data_dir; not needed by the embedded data sets.
        source: "coop" for the files of the table's layout, or "tfds".
        **options: `template`, the prompt of one class with one `{}`, instead of the table's; and
            options of the layout's `load`, e.g. `domain` for "emoji_scenes".

    Raises:
        DataError: an unknown name, source or option, or missing or malformed data, e.g. gaps in the
            labels or two classes with one name.
    """
    key, domain = split_domain(name)
    if key not in TABLE:
        raise unknown("data set", key, TABLE)
    if source not in SOURCES:
        raise unknown("source of data", source, SOURCES)
    entry = TABLE[key]
    if domain is not None:
        if options.get("domain") not in (None, domain):
            raise DataError(f"{name}: the name and domain={options['domain']!r} disagree; set one")
        options["domain"] = domain
    options.setdefault("template", entry.template)
    read = _tfds(key, entry) if source == "tfds" else entry.layout.load
    allowed = list(inspect.signature(read).parameters)
    allowed = [option for option in allowed if option not in ("name", "tfds_name", "clean")]
    for option in options:
        if option not in allowed:
            raise unknown(f"option of the data set {key}:", option, allowed)
    _check_template(key, options["template"])
    dataset = replace(read(name=key, root=root, **options), name=name)
    if dataset.has_classes:
        check_names(name, dataset.class_names, entry.repeated_names)
    return dataset


def parts(
    name: str, root: str | Path | None = None, lists: str | Path | None = None
) -> tuple[str, ...]:
    """Returns the parts of a data set whose published lists exist, e.g. "few_shot_16_1".

    A part is a domain, `load(f"{name}:{part}", …)`, with its own classes and labels.

    Args:
        name: a key of `TABLE`.
        root: see `load`.
        lists: see `VifiLayout.load`.

    Returns:
        The parts; () for a data set whose shots and classes `sampling` draws.

    Raises:
        DataError: there are no lists.
    """
    layout = entry(name).layout
    return layout.parts(name, root, lists) if isinstance(layout, VifiLayout) else ()


def accepts(name: str, option: str, source: str = "coop") -> bool:
    """Returns whether `load` accepts an option for a data set from a source."""
    own = entry(name)
    read = tfds_source.load if source == "tfds" else own.layout.load
    return option in inspect.signature(read).parameters


def has_published_parts(name: str) -> bool:
    """Returns whether published lists define a data set's shots and base classes: see `parts`."""
    return isinstance(entry(name).layout, VifiLayout)


def split_domain(name: str) -> tuple[str, str | None]:
    """Splits a name into its key of `TABLE` and domain: "folder:dslr" is ("folder", "dslr")."""
    key, colon, domain = name.partition(":")
    return key, domain if colon else None


def entry(name: str) -> Entry:
    """Returns the entry of a data set, named "key" or "key:domain"."""
    return TABLE[split_domain(name)[0]]


def _tfds(key: str, entry: Entry) -> Callable[..., Dataset]:
    if entry.tfds is None:
        have = ", ".join(name for name, other in TABLE.items() if other.tfds)
        raise DataError(f"{key}: not in TFDS; set source=coop. TFDS has {have}")
    return partial(tfds_source.load, tfds_name=entry.tfds, clean=entry.clean)


def _check_template(key: str, template: object) -> None:
    if not isinstance(template, str) or template.count("{}") != 1:
        raise DataError(
            f'{key}: template={template!r} must contain "{{}}" once, for the class name'
        )

"""Loading a data set by its name."""

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
    "comes_in_parts",
    "entry",
    "load",
    "parts",
    "split_domain",
]

SOURCES = ("coop", "tfds")


def load(
    name: str, root: str | Path | None = None, source: str = "coop", **options: Any
) -> Dataset:
    """Load the lists of a data set; images are read later, one by one.

    Args:
        name: a key of `TABLE`, or "key:domain", which sets the option `domain`.
        root: the folder that holds the data set's folder, or that folder itself; TFDS's data_dir
            for `source="tfds"`; not needed by the embedded data set.
        source: "coop", for the files of the table's layout, or "tfds".
        **options: `template`, the text of one class with one `{}`, in place of the table's; and
            what the layout's own `load` takes, e.g. `domain` for "emoji_scenes".

    Returns:
        The data set.

    Raises:
        DataError: an unknown name, source or option, or data that is missing or malformed, e.g.
            with gaps in the labels or with one name for two classes.
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
    """The parts of a data set whose published lists are there, e.g. "val1" or "few_shot_16_1".

    They are domains, `load(f"{name}:{part}", …)`, and may differ in their classes and labels.

    Args:
        name: a key of `TABLE`.
        root: as of `load`.
        lists: as of `VifiLayout.load`.

    Returns:
        The parts; none of a data set whose shots and halves `sampling` draws.

    Raises:
        DataError: there are no lists.
    """
    layout = entry(name).layout
    return layout.parts(name, root, lists) if isinstance(layout, VifiLayout) else ()


def takes(name: str, option: str, source: str = "coop") -> bool:
    """Whether `load` takes an option of a data set from that source."""
    own = entry(name)
    read = tfds_source.load if source == "tfds" else own.layout.load
    return option in inspect.signature(read).parameters


def comes_in_parts(name: str) -> bool:
    """Whether published lists, and no seed, choose a data set's shots and halves: see `parts`."""
    return isinstance(entry(name).layout, VifiLayout)


def split_domain(name: str) -> tuple[str, str | None]:
    """The key of `TABLE` and the domain of a name: "folder:dslr" is ("folder", "dslr")."""
    key, colon, domain = name.partition(":")
    return key, domain if colon else None


def entry(name: str) -> Entry:
    """The row of `TABLE` of a data set, "key" or "key:domain"."""
    return TABLE[split_domain(name)[0]]


def _tfds(key: str, entry: Entry) -> Callable[..., Dataset]:
    if entry.tfds is None:
        have = ", ".join(name for name, other in TABLE.items() if other.tfds)
        raise DataError(f"{key}: not in TFDS; set source=coop. In TFDS are {have}")
    return partial(tfds_source.load, tfds_name=entry.tfds, clean=entry.clean)


def _check_template(key: str, template: object) -> None:
    if not isinstance(template, str) or template.count("{}") != 1:
        raise DataError(
            f'{key}: template={template!r} must contain "{{}}" once, for the class name'
        )

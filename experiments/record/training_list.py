"""Identifies the list that a run draws its training images from, whatever a seed draws of it.

Two seeds with one list train on different images, so the drawn images cannot decide whether they
belong in one average.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from data_pipelines.checks import contents
from data_pipelines.errors import DataError
from data_pipelines.examples import Dataset, Example

MOST_READ = 5_000
"""Files of a list whose contents are hashed; of a longer list, evenly spaced ones."""
SHORT = 16


def identify(whole: Dataset, trained: Dataset) -> dict[str, str]:
    """Returns short hashes of the lists that training and validation images are drawn from.

    Args:
        whole: the data set that is drawn from.
        trained: the data set as drawn. Classes that it lacks do not count. If it has no validation
            images, those of `whole` do not count either, so that methods with and without
            validation share a table.

    Returns:
        "training list": of paths, class names and captions, in any order; "training contents": of
        the files, see `contents.identify`, if all can be read; and with validation images
        "validation list" and "validation contents".
    """
    known = set(trained.classes.ids or trained.class_names)
    found = {}
    for role, drawn, examples in (
        ("training", trained.train, whole.train),
        ("validation", trained.val, whole.val),
    ):
        if not drawn:
            continue
        listed = sorted((one for one in examples if one.class_key in known), key=_facts)
        found[f"{role} list"] = _hash(map(_facts, listed))
        if contained := _hash_contents(whole, listed):
            found[f"{role} contents"] = contained
    return found


def _facts(example: Example) -> tuple[str, ...]:
    return (example.image, example.class_key, *example.captions, repr(example.span))


def _hash(facts: Iterable[Any]) -> str:
    digest = hashlib.sha256()
    for fact in facts:
        digest.update(repr(fact).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:SHORT]


def _hash_contents(dataset: Dataset, examples: Sequence[Example]) -> str:
    if dataset.folder is None:
        return ""
    step = max(1, -(-len(examples) // MOST_READ))
    try:
        return _hash(contents.identify(dataset.folder / one.image) for one in examples[::step])
    except (OSError, ValueError, DataError):
        return ""


def differ(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Tells whether two runs differ in a hash that both have."""
    return any(one[key] != other[key] for key in one.keys() & other.keys())

"""What tells the list that a run draws its training images from, whichever of them a seed draws.

Two seeds of one list train on different images, so what they drew does not say whether they belong
into one average.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from data_pipelines.checks import contents
from data_pipelines.errors import DataError
from data_pipelines.examples import Dataset, Example

MOST_READ = 5_000
"""Files of a list whose contents are looked into; of a longer list, so many at even distances."""
SHORT = 16


def identify(whole: Dataset, trained: Dataset) -> dict[str, str]:
    """Returns short hashes of what a run's training and validation images are drawn from.

    Args:
        whole: its `train` and `val` are what is drawn from.
        trained: its `train` and `val` are what was drawn. Classes that it lacks do not count, and
            without validation images nor do those of `whole`: methods that do not look at them
            share a table with those that do.

    Returns:
        "training list": of paths, class names and captions, in any order; "training contents": of
        what `contents.identify` says of the files, where there are files and all can be read; and
        where validation images are used "validation list" and "validation contents".
    """
    known = set(trained.classes.ids or trained.class_names)
    found = {}
    for role, drawn, examples in (
        ("training", trained.train, whole.train),
        ("validation", trained.val, whole.val),
    ):
        if not drawn:
            continue
        listed = sorted((one for one in examples if one.known_by in known), key=_facts)
        found[f"{role} list"] = _hash(map(_facts, listed))
        if contained := _hash_contents(whole, listed):
            found[f"{role} contents"] = contained
    return found


def _facts(example: Example) -> tuple[str, ...]:
    return (example.image, example.known_by, *example.captions, repr(example.span))


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
    """Whether two runs say of anything that both know that it is not the same."""
    return any(one[key] != other[key] for key in one.keys() & other.keys())

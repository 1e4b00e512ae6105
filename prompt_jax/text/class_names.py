"""Compares class names; one rule for data sets, methods and predictions. Imports no JAX.

A class is identified by its label. Classes of two lists are matched by id if both lists have ids
(ImageNet's are WordNet ids), else by the name's `key`.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from prompt_jax.errors import PromptError, shorten
from prompt_jax.text import texts

UNSEEN = -1
"""Label of a class that is not among the known ones."""
AMBIGUOUS = -2
"""Label of a class whose name belongs to several known classes."""

_UNSEEN_SIGNS = ("Cc", "Cf", "Zl", "Zp", "Zs")  # of Unicode: control, format, separators


class Classes(NamedTuple):
    """K classes: names in label order, and unique ids if the data set has them."""

    names: tuple[str, ...]
    ids: tuple[str, ...] = ()


def spaced(name: str) -> str:
    """Returns a class name with underscores as spaces, and with surplus spaces removed."""
    return " ".join(name.replace("_", " ").split())


def fill(template: str, name: str) -> str:
    """Returns the text of a class: `template` with the name in place of "{}"."""
    return template.replace("{}", spaced(name))


def key(name: str) -> str:
    """Returns a normalized class name, equal for names that `fill` turns into the same token ids.

    "soccer ball", "Soccer_Ball" and "soccer  ball" have the same key, as have "747" and "7 4 7".
    The equivalence does not cover characters that are newer than the Unicode tables of Python or
    of the tokenizer, names that end in punctuation and an escaped blank ("x.&nbsp;"), and names
    that cannot be tokenized, such as CLIP's markers.
    """
    return " ".join(texts.split(texts.clean(spaced(name))))


def is_blank(name: str) -> bool:
    """Returns whether a class name has no visible character or no token."""
    seen = any(unicodedata.category(one) not in _UNSEEN_SIGNS for one in name)
    return not seen or not key(name)


def check_names(names: Sequence[str], known: Sequence[str] = (), may_repeat: bool = False) -> None:
    """Rejects class names that are invalid or not distinct.

    Args:
        names: K class names.
        known: names of the training classes; a name may occur as often as among them.
        may_repeat: whether identical names may occur several times, such as "missile" in ImageNet.
            Different names with the same tokens are rejected in any case.

    Raises:
        PromptError: a class name is invalid or repeated; the message names it.
    """
    if isinstance(names, str):
        raise PromptError(f"class names must be a list; pass [{names!r}]")
    seen: dict[str, str] = {}
    spare = Counter(key(name) for name in known)
    for name in names:
        if not isinstance(name, str):
            raise PromptError(f"class {name!r} is of type {type(name).__name__}; pass a string")
        if any("\ud800" <= character <= "\udfff" for character in name):
            raise PromptError(
                f"class {shorten(name)} contains half of a surrogate pair, the result of bytes "
                "that are not UTF-8; write it in UTF-8"
            )
        prompt = key(name)
        if is_blank(name):
            raise PromptError(f"class {name!r} is empty; give it a name")
        spare[prompt] -= 1
        twice = prompt in seen and spare[prompt] < 0
        if twice and not (may_repeat and name == seen[prompt]):
            raise PromptError(
                f"classes {shorten(seen[prompt])} and {shorten(name)} make the same prompt; "
                "give each class a distinct name"
            )
        seen[prompt] = name


def repeated(names: Iterable[str]) -> list[list[int]]:
    """Returns lists of labels whose class names have the same `key`."""
    labels: dict[str, list[int]] = {}
    for label, name in enumerate(names):
        labels.setdefault(key(name), []).append(label)
    return [same for same in labels.values() if len(same) > 1]


def describe_repeated(names: Sequence[str], same: Sequence[Sequence[int]]) -> str:
    """Returns a warning about classes with the same name; `same` comes from `repeated`."""
    labels, more = same[0], f" (and {len(same) - 1:,} more names)" if len(same) > 1 else ""
    name = shorten(names[labels[0]])
    return (
        f"{len(labels)} classes are called {name}{more}: they are distinguished by label, and "
        "their text features are equal unless the method has parameters per class"
    )


def find(known: Classes, asked: Classes) -> list[int]:
    """Returns the label among the known classes of each requested class.

    Classes are matched by id if both lists have ids, else by `key`. Repeated names are matched in
    order. Surplus occurrences in `asked` are `UNSEEN`; names that occur more often in `known` than
    in `asked` are `AMBIGUOUS`.
    """
    if known.names == asked.names and (known.ids == asked.ids or not (known.ids and asked.ids)):
        return list(range(len(known.names)))
    if known.ids and asked.ids and len(set(known.ids)) == len(known.names):
        labels = {one: label for label, one in enumerate(known.ids)}
        return [labels.get(one, UNSEEN) for one in asked.ids]
    there: dict[str, list[int]] = {}
    for label, name in enumerate(known.names):
        there.setdefault(key(name), []).append(label)
    keys = [key(name) for name in asked.names]
    wanted, seen = Counter(keys), Counter[str]()
    found = []
    for one in keys:
        labels_of, place = there.get(one, []), seen[one]
        seen[one] += 1
        if len(labels_of) > wanted[one]:
            found.append(AMBIGUOUS)
        else:
            found.append(labels_of[place] if place < len(labels_of) else UNSEEN)
    return found


def index_trained(
    known: Sequence[str],
    names: Sequence[str],
    known_ids: Sequence[str] = (),
    ids: Sequence[str] = (),
) -> list[int]:
    """Finds each class among the training classes.

    Args:
        known: names of the training classes, in label order.
        names: names of the classes to find.
        known_ids, ids: WordNet ids of both, if both data sets have them.

    Returns:
        A label for each, or `UNSEEN` or `AMBIGUOUS`; see `find`.
    """
    trained = Classes(tuple(known), tuple(known_ids))
    return find(trained, Classes(tuple(names), tuple(ids)))


def distinct(names: Sequence[str]) -> list[str]:
    """Returns K distinct names: repeated ones get their label, as in "missile (label 657)"."""
    shown = list(names)
    while len(set(shown)) < len(shown):
        times = Counter(shown)
        shown = [
            name if times[name] == 1 else f"{name} (label {label})"
            for label, name in enumerate(shown)
        ]
    return shown


def meaningless(names: Sequence[str]) -> str:
    """Returns "numbers" or "WordNet ids" if all names are such, meaningless to CLIP, else ""."""
    kinds = {"numbers": r"[\d\s.,:/-]*\d[\d\s.,:/-]*", "WordNet ids": r"n\d{8}"}
    for kind, pattern in kinds.items():
        if names and all(re.fullmatch(pattern, spaced(name)) for name in names):
            return kind
    return ""


def describe_meaningless(names: Sequence[str], template: str) -> str:
    """Returns a note on names that are all numbers or WordNet ids, or ""."""
    kind = meaningless(names)
    return kind and (
        f"all class names are {kind}, which mean nothing to the text tower: prompts read "
        f"{fill(template, names[-1])!r}; give each class a descriptive name"
    )

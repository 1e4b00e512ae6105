"""When two class names are the same class: one rule for data, methods and predictions. No JAX.

Classes are known by their label. Where classes of other lists must be found again, it is by the id
that both lists have (ImageNet's: WordNet's), else by the name's `key`.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from prompt_jax.errors import PromptError, shorten
from prompt_jax.text import texts

UNSEEN = -1
"""Of a class that is none of the known ones."""
AMBIGUOUS = -2
"""Of a class whose name several known ones have, so that nobody can say which is meant."""

_UNSEEN_SIGNS = ("Cc", "Cf", "Zl", "Zp", "Zs")  # of Unicode: control, format, separators


class Classes(NamedTuple):
    """K classes: their names in label order, and ids, unique ones, where their data set has any."""

    names: tuple[str, ...]
    ids: tuple[str, ...] = ()


def spaced(name: str) -> str:
    """Returns a class name as prompts hold it: underscores are spaces, single ones, none around."""
    return " ".join(name.replace("_", " ").split())


def fill(template: str, name: str) -> str:
    """Returns the text of a class: `template` with the name in place of "{}"."""
    return template.replace("{}", spaced(name))


def key(name: str) -> str:
    """Returns what a class name is known by: equal for names that make the same prompt.

    Two names have one key exactly when `fill` makes texts of the same token ids of them, as "soccer
    ball", "Soccer_Ball" and "soccer  ball" do, and "747" and "7 4 7". Three things are left out:
    characters that are newer than Python's Unicode tables, or than the tokenizer's; names that end
    in a sign and an escaped blank ("x.&nbsp;"), whose sign the template's full stop does not join;
    and names that no prompt can hold, such as CLIP's own markers.
    """
    return " ".join(texts.split(texts.clean(spaced(name))))


def is_blank(name: str) -> bool:
    """Whether a class name has nothing that can be seen, or that makes a token."""
    seen = any(unicodedata.category(one) not in _UNSEEN_SIGNS for one in name)
    return not seen or not key(name)


def check_names(names: Sequence[str], known: Sequence[str] = (), may_repeat: bool = False) -> None:
    """Refuses class names that no prompts, or the same prompts, can be made of.

    Args:
        names: K class names.
        known: those of a training; what stands several times there may stand as often here.
        may_repeat: whether a name may stand several times, letter by letter, as "missile" does
            among ImageNet's. Names that only make the same prompt are a mistake all the same.

    Raises:
        PromptError: names the class.
    """
    if isinstance(names, str):
        raise PromptError(f"class names must be a list; write [{names!r}]")
    seen: dict[str, str] = {}
    spare = Counter(key(name) for name in known)
    for name in names:
        if not isinstance(name, str):
            raise PromptError(f"class {name!r} is of type {type(name).__name__}; give a string")
        if any("\ud800" <= character <= "\udfff" for character in name):
            raise PromptError(
                f"class {shorten(name)} holds half of a surrogate pair, which bytes that are not "
                "UTF-8 are read as; write it in UTF-8"
            )
        prompt = key(name)
        if is_blank(name):
            raise PromptError(f"class {name!r} is empty; give it a name")
        spare[prompt] -= 1
        twice = prompt in seen and spare[prompt] < 0
        if twice and not (may_repeat and name == seen[prompt]):
            raise PromptError(
                f"classes {shorten(seen[prompt])} and {shorten(name)} make the same prompt; give "
                "each a name of its own"
            )
        seen[prompt] = name


def repeated(names: Iterable[str]) -> list[list[int]]:
    """Returns the labels of classes that make the same prompt, those of one prompt in a list."""
    labels: dict[str, list[int]] = {}
    for label, name in enumerate(names):
        labels.setdefault(key(name), []).append(label)
    return [same for same in labels.values() if len(same) > 1]


def told_by_labels(names: Sequence[str], same: Sequence[Sequence[int]]) -> str:
    """Says what it means that classes have one name; `same` is of `repeated`."""
    labels, more = same[0], f" (and {len(same) - 1:,} more names)" if len(same) > 1 else ""
    name = shorten(names[labels[0]])
    return (
        f"{len(labels)} classes are called {name}{more}: their labels tell them apart, "
        "and their prompts are equal where the method keeps nothing of its own for each"
    )


def find(known: Classes, asked: Classes) -> list[int]:
    """Returns the label that each class asked for has among the known ones.

    By ids where both lists have them, else by `key`. Of a name that stands several times in both,
    the first is the first, the second the second, and so on; what is asked for more often than it
    is known is `UNSEEN`. A name asked for less often than it is known is `AMBIGUOUS`.
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


def distinct(names: Sequence[str]) -> list[str]:
    """Returns the names of K classes, those that repeat with their label: "missile (label 657)"."""
    shown = list(names)
    while len(set(shown)) < len(shown):
        times = Counter(shown)
        shown = [
            name if times[name] == 1 else f"{name} (label {label})"
            for label, name in enumerate(shown)
        ]
    return shown


def meaningless(names: Sequence[str]) -> str:
    """Returns what all of these names are that says nothing to a text tower, or ""."""
    kinds = {"numbers": r"[\d\s.,:/-]*\d[\d\s.,:/-]*", "WordNet ids": r"n\d{8}"}
    for kind, pattern in kinds.items():
        if names and all(re.fullmatch(pattern, spaced(name)) for name in names):
            return kind
    return ""

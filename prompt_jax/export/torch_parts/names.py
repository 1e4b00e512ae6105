"""Compares class names and fills templates with them."""

from collections import Counter
from collections.abc import Sequence

from prompt_jax.text.texts import clean, split

UNSEEN, AMBIGUOUS = -1, -2  # in place of a class index


def spaced(name: str) -> str:
    """Returns a class name with underscores as spaces, single ones, none at the ends."""
    return " ".join(name.replace("_", " ").split())


def fill(template: str, name: str) -> str:
    """Returns the template with the class name in place of "{}"."""
    return template.replace("{}", spaced(name))


def words(text: str) -> str:
    """Returns the normalized words of a text: equal for texts with the same tokens."""
    return " ".join(split(clean(text)))


def find(known: Sequence[str], asked: Sequence[str]) -> list[int]:
    """Returns the index of each name of `asked` in `known`, by the words of the name.

    Repeated names are matched in their order; those asked for more often than known are `UNSEEN`.
    A name asked for less often than known is `AMBIGUOUS`.
    """
    if list(known) == list(asked):
        return list(range(len(known)))
    indices: dict[str, list[int]] = {}
    for number, name in enumerate(known):
        indices.setdefault(words(spaced(name)), []).append(number)
    keys = [words(spaced(name)) for name in asked]
    wanted, seen = Counter(keys), Counter[str]()
    found = []
    for key in keys:
        matches, place = indices.get(key, []), seen[key]
        seen[key] += 1
        if len(matches) > wanted[key]:
            found.append(AMBIGUOUS)
        else:
            found.append(matches[place] if place < len(matches) else UNSEEN)
    return found


def distinct(names: Sequence[str]) -> list[str]:
    """Returns class names with repeated ones made unique by label: "missile (label 657)"."""
    shown = list(names)
    while len(set(shown)) < len(shown):
        times = Counter(shown)
        shown = [
            name if times[name] == 1 else f"{name} (label {number})"
            for number, name in enumerate(shown)
        ]
    return shown

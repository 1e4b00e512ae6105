"""Class names: which of them are one class, and the texts that hold them."""

from collections import Counter
from collections.abc import Sequence

from prompt_jax.text.texts import clean, split

UNSEEN, AMBIGUOUS = -1, -2  # in place of a class's number


def spaced(name: str) -> str:
    """A class name as texts hold it: underscores are spaces, single ones, none around."""
    return " ".join(name.replace("_", " ").split())


def fill(template: str, name: str) -> str:
    """The text of a class: `template` with the name in place of "{}"."""
    return template.replace("{}", spaced(name))


def words(text: str) -> str:
    """What a text is known by: equal for texts that have the same tokens."""
    return " ".join(split(clean(text)))


def find(known: Sequence[str], asked: Sequence[str]) -> list[int]:
    """Which of the known classes each class asked for is, by the words of its name.

    Of a name that stands several times in both, the first is the first, the second the second, and
    so on; what is asked for more often than it is known is `UNSEEN`. A name asked for less often
    than it is known is `AMBIGUOUS`: nobody can say which is meant.
    """
    if list(known) == list(asked):
        return list(range(len(known)))
    there: dict[str, list[int]] = {}
    for number, name in enumerate(known):
        there.setdefault(words(spaced(name)), []).append(number)
    keys = [words(spaced(name)) for name in asked]
    wanted, seen = Counter(keys), Counter[str]()
    found = []
    for key in keys:
        numbers, place = there.get(key, []), seen[key]
        seen[key] += 1
        if len(numbers) > wanted[key]:
            found.append(AMBIGUOUS)
        else:
            found.append(numbers[place] if place < len(numbers) else UNSEEN)
    return found


def distinct(names: Sequence[str]) -> list[str]:
    """The names of K classes, those that repeat with their number: "missile (label 657)"."""
    shown = list(names)
    while len(set(shown)) < len(shown):
        times = Counter(shown)
        shown = [
            name if times[name] == 1 else f"{name} (label {number})"
            for number, name in enumerate(shown)
        ]
    return shown

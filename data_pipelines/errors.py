"""The error for a name that does not exist, and those that reading images shares with it."""

import difflib
from collections.abc import Iterable

from prompt_jax.errors import BadImage, BadVideo, DataError, escape, installing, printable, shorten

__all__ = [
    "BadImage",
    "BadVideo",
    "DataError",
    "escape",
    "installing",
    "printable",
    "shorten",
    "unknown",
]


def unknown(what: str, got: object, allowed: Iterable[str]) -> DataError:
    """The error for a name that does not exist: what was given, close matches, all choices.

    Args:
        what: the kind of thing, e.g. "data set".
        got: the name that was given.
        allowed: the names that exist, in the order to show them.
    """
    names = list(allowed)
    close = difflib.get_close_matches(str(got).lower(), names, n=2, cutoff=0.5)
    hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    given = shorten(got) if isinstance(got, str) else repr(got)
    return DataError(f"unknown {what} {given}.{hint} Available: {', '.join(names)}")

"""Errors of the data package, and the error for an unknown name."""

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
    """Returns the error for an unknown name, with close matches and all choices.

    Args:
        what: the kind of name, e.g. "data set".
        got: the unknown name.
        allowed: the known names, in the order to show them.
    """
    names = list(allowed)
    close = difflib.get_close_matches(str(got).lower(), names, n=2, cutoff=0.5)
    hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    given = shorten(got) if isinstance(got, str) else repr(got)
    return DataError(f"unknown {what} {given}.{hint} Available: {', '.join(names)}")

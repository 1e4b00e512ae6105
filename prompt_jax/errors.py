"""The error a person is meant to read, and close matches for misspelt names."""

import difflib
from collections.abc import Iterable


class PromptError(ValueError):
    """A mistake in a setting or a file that its message explains; shown without a traceback."""

    def __str__(self) -> str:
        """The message; it can be printed whatever file names it holds."""
        return super().__str__().encode("utf-8", "backslashreplace").decode("utf-8")


def unknown(what: str, got: str, allowed: Iterable[str]) -> PromptError:
    """An error for a name that is not in a table: what was given, close matches, all choices.

    Args:
        what: the kind of thing, e.g. "method".
        got: the name that was given.
        allowed: the names that exist.
    """
    names = sorted(allowed)
    close = difflib.get_close_matches(got, names, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    return PromptError(f"unknown {what} {got!r}.{hint} Available: {', '.join(names)}")

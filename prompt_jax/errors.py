"""Errors with messages for users, and close matches for misspelled names."""

import difflib
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


class PromptError(ValueError):
    """A user error in a setting or a file, explained by its message; shown without a traceback."""

    def __str__(self) -> str:
        """Returns the message, escaped so that it is safe to print."""
        return escape_lines(super().__str__())


class ArgumentError(PromptError):
    """A user error that other arguments fix: keywords in Python, flags on the command line.

    Attributes:
        mistake: what is wrong.
        advice: what to do, with "{}" for each argument.
        arguments: their names in Python.
    """

    def __init__(self, mistake: str, advice: str, *arguments: str):
        """Takes the attributes, and passes all of them to `args`, so that pickling works."""
        super().__init__(mistake, advice, *arguments)
        self.mistake, self.advice, self.arguments = mistake, advice, arguments

    def __str__(self) -> str:
        """Returns the message with Python keywords, "backbone=…"."""
        return self._message(f"{name}=…" for name in self.arguments)

    def as_flags(self, flags: Mapping[str, str]) -> PromptError:
        """Returns the error with flags: `--name` for each argument, or its entry in `flags`."""
        return PromptError(self._message(flags.get(name, f"--{name}") for name in self.arguments))

    def _message(self, names: Iterable[str]) -> str:
        return escape_lines(f"{self.mistake}; {self.advice.format(*names)}")


def check_type(path: str, value: Any, kind: type) -> None:
    """Raises a PromptError if a value has another type; an int passes as a float."""
    others: dict[type, Any] = {float: (int, float), tuple: (tuple, list), dict: Mapping}
    allowed = others.get(kind, kind)
    if not isinstance(value, allowed) or (isinstance(value, bool) and kind is not bool):
        raise PromptError(
            f"{path}={value!r} is of type {type(value).__name__}; it must be of {kind.__name__}"
        )


def printable(text: str) -> str:
    """Returns text with bytes of file names that are not UTF-8 as backslash escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def escape(text: str) -> str:
    """Returns untrusted text as one line that is safe to print on a terminal.

    Line breaks, escape sequences, marks that change the writing direction and all other
    unprintable characters become backslash escapes. The two joiners, which scripts and emoji need,
    are kept.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in _JOINERS else _escaped(c) for c in text)


def escape_lines(text: str) -> str:
    """Escapes each line of a text, keeping its line breaks."""
    return "\n".join(map(escape, text.split("\n")))


_JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def quote(text: object) -> str:
    """Returns a text or path quoted for a printed shell command."""
    return escape(shlex.quote(str(text)))


def shorten(text: str, most: int = 60) -> str:
    """Returns a text in quotation marks, truncated for a message."""
    return repr(text) if len(text) <= most else f"{text[:most]!r}… ({len(text):,} characters)"


class DataError(ValueError):
    """A user error in the data or in a data setting, explained by its message."""

    def __str__(self) -> str:
        """Returns the message, escaped so that it is safe to print."""
        return escape_lines(super().__str__())


class BadImage(DataError):
    """An image that cannot be read; `image` is its path, `reason` states why."""

    what, article = "image", "an"

    def __init__(self, image: str, reason: str):
        """Takes the path of the image and the reason why it cannot be read."""
        # Both go into `args`, so that pickling works (worker processes).
        super().__init__(image, reason)
        self.image = image
        self.reason = reason

    def __str__(self) -> str:
        """Returns path and reason in one line."""
        return escape(f"cannot read the {self.what} {self.image}: {self.reason}")


class BadVideo(BadImage):
    """A video that cannot be read; handled as an image is."""

    what, article = "video", "a"


def installing(extra: str) -> str:
    """Returns the command that installs an extra of this package, e.g. "video".

    For an installed package, pip resolves the name to that installation, not to an index.
    """
    if (Path(__file__).parents[1] / "setup.py").is_file():
        return f".venv/bin/pip install -e '.[{extra}]'"
    return f"pip install 'prompt_jax[{extra}]'"


def unknown(what: str, got: str, allowed: Iterable[str]) -> PromptError:
    """Returns an error for an unknown name, with close matches and all choices.

    Args:
        what: the kind of thing, e.g. "method".
        got: the name that was given.
        allowed: the names that exist.
    """
    names = sorted(allowed)
    close = difflib.get_close_matches(got, names, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    shown = ", ".join(name or "''" for name in names)
    return PromptError(f"unknown {what} {got!r}.{hint} Available: {shown}")

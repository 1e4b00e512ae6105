"""The errors a person is meant to read, and close matches for misspelt names."""

import difflib
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path


class PromptError(ValueError):
    """A mistake in a setting or a file that its message explains; shown without a traceback."""

    def __str__(self) -> str:
        """The message; it is safe to print whatever file names it holds."""
        return escape_lines(super().__str__())


class ArgumentError(PromptError):
    """A mistake that other arguments mend: keywords in Python, flags of a command.

    Attributes:
        mistake: what is wrong.
        advice: what to do, "{}" standing for each argument.
        arguments: their names in Python.
    """

    def __init__(self, mistake: str, advice: str, *arguments: str):
        """See the attributes. They all go into `args`, so the error survives pickling."""
        super().__init__(mistake, advice, *arguments)
        self.mistake, self.advice, self.arguments = mistake, advice, arguments

    def __str__(self) -> str:
        """The message with the keywords of Python, "backbone=…"."""
        return self._said(f"{name}=…" for name in self.arguments)

    def as_flags(self, flags: Mapping[str, str]) -> PromptError:
        """Returns the error with flags: `--name` of each argument, or what `flags` calls it."""
        return PromptError(self._said(flags.get(name, f"--{name}") for name in self.arguments))

    def _said(self, names: Iterable[str]) -> str:
        return escape_lines(f"{self.mistake}; {self.advice.format(*names)}")


def printable(text: str) -> str:
    """`text` with the bytes of file names that are not UTF-8 written as backslash escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def escape(text: str) -> str:
    """Returns text of a user or a file as one line that is safe to print on a terminal.

    Line breaks, escape sequences, marks that change the direction of writing and all else that is
    not printable become backslash escapes. The two joiners stay, which scripts and emoji need.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in _JOINERS else _escaped(c) for c in text)


def escape_lines(text: str) -> str:
    """Returns text as `escape` does, in the lines that it has: a message that lists files."""
    return "\n".join(map(escape, text.split("\n")))


_JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def quote(text: object) -> str:
    """Returns a text or path as one word of a command line that is printed, for people to paste."""
    return escape(shlex.quote(str(text)))


def shorten(text: str, most: int = 60) -> str:
    """A text that a file holds, in quotation marks and cut to what a message has room for."""
    return repr(text) if len(text) <= most else f"{text[:most]!r}… ({len(text):,} characters)"


class DataError(ValueError):
    """A mistake in the data or in a data setting; its message says which, and what to do."""

    def __str__(self) -> str:
        """The message; it is safe to print whatever file names it holds."""
        return escape_lines(super().__str__())


class BadImage(DataError):
    """One image that cannot be read; `image` is its path, `reason` says why in words."""

    what, article = "image", "an"

    def __init__(self, image: str, reason: str):
        """`image`: its path; `reason`: why it cannot be read, in words."""
        # Both go into `args`, so the error survives pickling (worker processes).
        super().__init__(image, reason)
        self.image = image
        self.reason = reason

    def __str__(self) -> str:
        """Path and reason in one line."""
        return escape(f"cannot read the {self.what} {self.image}: {self.reason}")


class BadVideo(BadImage):
    """One video that cannot be read; it is caught and listed as an image is."""

    what, article = "video", "a"


def installing(extra: str) -> str:
    """The command that installs an extra, e.g. "video", where this package is.

    pip takes the name of an installed package for that one, whatever an index holds.
    """
    if (Path(__file__).parents[1] / "setup.py").is_file():
        return f".venv/bin/pip install -e '.[{extra}]'"
    return f"pip install 'prompt_jax[{extra}]'"


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
    shown = ", ".join(name or "''" for name in names)
    return PromptError(f"unknown {what} {got!r}.{hint} Available: {shown}")

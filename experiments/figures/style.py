"""How all drawings are made: text of a user is text, whatever it holds, and files stay the same."""

import contextlib
import textwrap
import warnings
from collections.abc import Iterator
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from prompt_jax.errors import escape

__all__ = ["MOST_ROWS", "label", "plt", "styled", "wrap", "wrap_title"]

MOST_ROWS = 100
"""Of a table, in one drawing: nobody reads more, and no image may have more than 65,535 dots."""

_LONGEST = 400  # characters of one text
_STYLE: dict[Any, Any] = {
    # No dollar, brace or backslash of a name is read as TeX, nor as matplotlib's own markup.
    "text.parse_math": False,
    "text.usetex": False,
    "axes.formatter.use_mathtext": False,
    # Text stays text in SVG, and the same figure gives the same file.
    "svg.fonttype": "none",
    "svg.hashsalt": "prompt_jax",
}


@contextlib.contextmanager
def styled(changes: dict[Any, Any] | None = None) -> Iterator[None]:
    """Draws within as this module says; a decorator too. No figure is left open.

    The caller's own settings of matplotlib are neither used for markup nor changed.
    """
    before = set(plt.get_fignums())
    with matplotlib.rc_context(_STYLE | (changes or {})), warnings.catch_warnings():
        # The drawing font lacks some scripts: in PNG boxes stand for them, which says enough.
        # And a label that takes the room of the axes is still a drawing.
        warnings.filterwarnings(
            "ignore", "Glyph .* missing from|constrained_layout not", UserWarning
        )
        warnings.filterwarnings(
            "ignore", "Tight layout not|Matplotlib currently does not", UserWarning
        )
        try:
            yield
        finally:
            for number in set(plt.get_fignums()) - before:
                plt.close(number)


def wrap(text: str, width: int = 10_000, most_lines: int = 6) -> str:
    """Returns text of a user as a drawing has it: printable, in a few lines of `width`."""
    plain = escape(text[:_LONGEST]) + " …" * (len(text) > _LONGEST)
    return "\n".join(textwrap.wrap(plain, width, max_lines=most_lines, placeholder=" …"))


def wrap_title(figure: Figure, title: str) -> str:
    """Returns a title in lines as wide as the figure."""
    return wrap(title, int(figure.get_figwidth() * 9.5))


def label(text: str) -> str:
    """Returns text as the label of what a legend explains, which leaves out "" and "_…"."""
    plain = wrap(text, 60)
    return plain if plain[:1] not in ("", "_") else f" {plain}"

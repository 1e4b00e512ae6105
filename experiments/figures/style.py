"""The style of all figures: text of users is never read as markup, files are deterministic."""

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
"""Rows of a table in one figure; an image has at most 65,535 pixels a side."""

_LONGEST = 400  # characters of one text
_STYLE: dict[Any, Any] = {
    # No dollar, brace or backslash of a name is read as TeX or as matplotlib's mathtext.
    "text.parse_math": False,
    "text.usetex": False,
    "axes.formatter.use_mathtext": False,
    # Text stays text in SVG, and the same figure gives the same bytes.
    "svg.fonttype": "none",
    "svg.hashsalt": "prompt_jax",
}


@contextlib.contextmanager
def styled(changes: dict[Any, Any] | None = None) -> Iterator[None]:
    """Applies the style, as a context or a decorator, and closes the figures made within.

    The caller's own settings of matplotlib are not changed.
    """
    before = set(plt.get_fignums())
    with matplotlib.rc_context(_STYLE | (changes or {})), warnings.catch_warnings():
        # The font lacks some scripts, which PNG shows as boxes; and a label may be so long that it
        # leaves no space for the axes.
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
    """Makes text of a user printable, in a few lines of `width` characters."""
    plain = escape(text[:_LONGEST]) + " …" * (len(text) > _LONGEST)
    return "\n".join(textwrap.wrap(plain, width, max_lines=most_lines, placeholder=" …"))


def wrap_title(figure: Figure, title: str) -> str:
    """Wraps a title to the width of the figure."""
    return wrap(title, int(figure.get_figwidth() * 9.5))


def label(text: str) -> str:
    """Returns text as the label of an artist; matplotlib ignores labels "" and "_…"."""
    plain = wrap(text, 60)
    return plain if plain[:1] not in ("", "_") else f" {plain}"

"""The content of a report as plain data, which `page` renders as HTML."""

from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image


class Text(NamedTuple):
    """A paragraph, plain text."""

    text: str


class Fold(NamedTuple):
    """Paragraphs that are shown when their title is clicked."""

    title: str
    texts: Sequence[str]


class Table(NamedTuple):
    """A table of text: names in the first column, numbers in the others.

    Attributes:
        headers: of the columns.
        rows: cells, as many as headers.
        caption: below the table.
    """

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


class Plot(NamedTuple):
    """A figure.

    Attributes:
        svg: an SVG element without a background, for light and dark pages.
        title: also the alternative text for screen readers.
    """

    svg: str
    title: str


class Bar(NamedTuple):
    """A class and its probability, 0 to 1, after each iteration; `right`: it is the label."""

    name: str
    shares: Sequence[float]
    right: bool = False


class Card(NamedTuple):
    """Images with text.

    Attributes:
        images: side by side: one image, the frames of a video, or views of one image.
        title: of the card.
        lines: more text.
        bars: probabilities of some classes.
    """

    images: Sequence[Image.Image]
    title: str
    lines: Sequence[str] = ()
    bars: Sequence[Bar] = ()


class Gallery(NamedTuple):
    """Cards in rows as wide as the screen."""

    cards: Sequence[Card]
    caption: str = ""


Block = Text | Fold | Table | Plot | Gallery


class Section(NamedTuple):
    """A heading and the blocks below it."""

    title: str
    blocks: Sequence[Block]

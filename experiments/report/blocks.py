"""What a report's page is made of: data alone, which `page` turns into HTML."""

from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image


class Text(NamedTuple):
    """A paragraph, plain text."""

    text: str


class Table(NamedTuple):
    """A table of text: the first column reads, the others are numbers.

    Attributes:
        headers: of the columns.
        rows: cells, as many as headers.
        caption: what it shows.
    """

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


class Plot(NamedTuple):
    """A drawing.

    Attributes:
        svg: its file's text, without a background, so that it is read in light and dark.
        title: what it shows, in words: also for those who cannot see it.
    """

    svg: str
    title: str


class Bar(NamedTuple):
    """A class beside its probability, 0 to 1, after each iteration; `right`: it is the class."""

    name: str
    shares: Sequence[float]
    right: bool = False


class Card(NamedTuple):
    """Images that belong together, with words.

    Attributes:
        images: shown beside each other: one, the frames of a video, or views of one image.
        title: what it shows.
        lines: more words, a line each.
        bars: probabilities of some classes.
    """

    images: Sequence[Image.Image]
    title: str
    lines: Sequence[str] = ()
    bars: Sequence[Bar] = ()


class Gallery(NamedTuple):
    """Cards that flow side by side, as many as the screen is wide."""

    cards: Sequence[Card]
    caption: str = ""


Block = Text | Table | Plot | Gallery


class Section(NamedTuple):
    """A part of the page: a heading and what stands below it."""

    title: str
    blocks: Sequence[Block]

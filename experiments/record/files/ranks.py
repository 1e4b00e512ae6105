"""At which rank each test caption finds its video: a CSV file a test set."""

import csv
import math
import pathlib
from collections.abc import Iterable
from typing import NamedTuple

from experiments.record.files import csv_files
from prompt_jax.errors import escape, shorten

COLUMNS = ("clip", "caption", "rank", "zero_shot_rank")


class Line(NamedTuple):
    """A caption: the video that it is of, and that video's rank, from 1, of ties their mean."""

    clip: str
    caption: str
    rank: float
    zero_shot_rank: float

    @property
    def gain(self) -> float:
        """How many ranks it moved up since zero-shot CLIP."""
        return self.zero_shot_rank - self.rank


def ranks_file(key: str) -> str:
    """The file of a run that says at which rank each test caption finds its video."""
    return f"ranks-{key.replace(':', '-')}.csv"


def write(path: pathlib.Path, lines: Iterable[Line]) -> None:
    """Writes a line for each caption."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for clip, caption, *places in lines:
            writer.writerow([escape(clip), escape(caption), *(f"{place:g}" for place in places)])


def read(path: pathlib.Path) -> list[Line]:
    """The lines of a test set's ranks.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not what a run writes; says which line.
    """
    return [
        Line(clip, caption, *(_rank(place, cell) for cell in cells))
        for place, (clip, caption, *cells) in csv_files.read(path, COLUMNS)
    ]


def _rank(place: int, cell: str) -> float:
    try:
        rank = float(cell)
    except ValueError:
        rank = math.nan
    if not 1 <= rank < 1e9:
        raise ValueError(f"line {place}: {shorten(cell)} is no rank")
    return rank

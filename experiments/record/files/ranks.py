"""The rank of each test caption's video: a CSV file per test set."""

import csv
import math
import pathlib
from collections.abc import Iterable
from typing import NamedTuple

from experiments.record.files import csv_files
from prompt_jax.errors import escape, shorten

COLUMNS = ("clip", "caption", "rank", "zero_shot_rank")


class Line(NamedTuple):
    """A caption, its video, and the rank of the video, from 1, the mean of ties."""

    clip: str
    caption: str
    rank: float
    zero_shot_rank: float

    @property
    def gain(self) -> float:
        """Returns by how many ranks it is better than zero-shot CLIP."""
        return self.zero_shot_rank - self.rank


def ranks_file(key: str) -> str:
    """Returns the file name of a test set's ranks, by its key in results.json."""
    return f"ranks-{key.replace(':', '-')}.csv"


def write(path: pathlib.Path, lines: Iterable[Line]) -> None:
    """Writes a line per caption."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for clip, caption, *places in lines:
            writer.writerow([escape(clip), escape(caption), *(f"{place:g}" for place in places)])


def read(path: pathlib.Path) -> list[Line]:
    """Reads the ranks of a test set.

    Raises:
        OSError: it cannot be read.
        ValueError: a line is invalid; names it.
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
        raise ValueError(f"line {place}: {shorten(cell)} is not a rank")
    return rank

"""Reads CSV files of runs, bounded and with every line checked."""

import csv
import io
import pathlib
from collections.abc import Iterator, Sequence

from prompt_jax.storage.files import read_bytes

MOST_BYTES = 64 * 2**20
"""Of a file; a full confusion matrix of 1,000 classes takes 40 MB."""
MOST_LINES = 1_000_000


def read(path: pathlib.Path, columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Yields the number and the cells of each line below the header.

    Args:
        path: a regular file in UTF-8.
        columns: the header.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not a regular file, larger than `MOST_BYTES`, not UTF-8, has another
            header, more than `MOST_LINES` lines, or a line with another number of cells.
    """
    text = read_bytes(path, MOST_BYTES).decode("utf-8")
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        if next(lines, None) != list(columns):
            raise ValueError(f"its first line is not {','.join(columns)}")
        for number, line in enumerate(lines, 1):
            if number > MOST_LINES:
                raise ValueError(f"it has more than {MOST_LINES:,} lines")
            if len(line) != len(columns):
                raise ValueError(f"line {lines.line_num} has {len(line)} cells, not {len(columns)}")
            yield lines.line_num, line
    except csv.Error as error:
        raise ValueError(f"line {lines.line_num}: {error}") from None

"""CSV files of runs: read with bounds, and each line checked."""

import csv
import io
import pathlib
from collections.abc import Iterator, Sequence

from prompt_jax.storage.files import read_bytes

MOST_BYTES = 64 * 2**20
"""Of a file; the counts of 1,000 classes, each taken for each, take 40 MB."""
MOST_LINES = 1_000_000


def read(path: pathlib.Path, columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Yields the lines below the first, each with its number, as many cells as there are columns.

    Args:
        path: a regular file in UTF-8.
        columns: what its first line says.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not a regular file, larger than `MOST_BYTES`, not UTF-8, has another first
            line, more than `MOST_LINES` lines, or a line of another number of cells; says which.
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

"""Reads predictions from a Parquet file, which may be damaged or malicious."""

import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from prompt_jax.errors import shorten
from prompt_jax.evaluation.evaluate import TOP
from prompt_jax.storage.files import read_bytes
from prompt_jax.storage.parquet import open_untrusted

MOST_BYTES = 2**28  # of a file; that of 50,000 images takes 4 MB
MOST_ROWS = 500_000
MOST_UNPACKED = 2**30  # bytes of its columns
MOST_TEXT = 2**29  # bytes of all names and paths, repeated ones counted again
LONGEST = 2**15  # bytes of a name or path

_TEXT = pa.dictionary(pa.int32(), pa.string())  # repeated texts are stored once
_COLUMNS: dict[str, Any] = {"path": _TEXT, "class": _TEXT, "right": pa.bool_()}


def read(path: pathlib.Path, number: int) -> list[dict[str, Any]]:
    """Reads rows that `predictions.write` wrote: path, class, right, top5, probabilities.

    For a method with several iterations also top5_after_0, probabilities_after_0, … Sizes are
    checked before a column is read.

    Args:
        path: see `predictions.predictions_file`.
        number: of tested examples.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not a regular file, too large, damaged, or has other content; names the
            column and what it held.
    """
    content = read_bytes(path, MOST_BYTES)
    try:
        return _read(content, number)
    except pa.ArrowException as error:  # not all of them are ValueErrors
        raise ValueError(str(error).splitlines()[0]) from None


def _read(content: bytes, number: int) -> list[dict[str, Any]]:
    file = open_untrusted(content)
    texts = [one.path for one in file.schema if one.physical_type == "BYTE_ARRAY"]
    file = open_untrusted(content, texts)
    columns = _check_columns(file)
    _check_sizes(file, columns, number)
    rows: list[dict[str, Any]] = []
    room = MOST_TEXT
    for group in range(file.num_row_groups):
        table = file.read_row_group(group, columns=list(columns))
        table.validate(full=True)
        room -= sum(_check_values(table, name) for name in columns)
        if room < 0:
            raise ValueError(f"its texts take more than {MOST_TEXT:,} bytes")
        _check_pairs(table)
        rows += table.to_pylist()
    return rows


def _check_columns(file: pq.ParquetFile) -> dict[str, Any]:
    """Returns the columns to read and their types; later versions may add others."""
    schema = file.schema_arrow
    wanted, numbers = dict(_COLUMNS), set()
    for stem, kind in (("top5", _TEXT), ("probabilities", pa.float32())):
        found = [name for name in schema.names if name.startswith(stem)]
        names = [stem, *(f"{stem}_after_{n}" for n in range(len(found) - 1))]
        if sorted(found) != sorted(names):
            raise ValueError(f"it lacks columns {stem}, {stem}_after_0, … for each iteration")
        wanted |= dict.fromkeys(names, kind)
        numbers.add(len(names))
    if len(numbers) > 1:
        raise ValueError("it has different numbers of columns probabilities… and top5…")
    for name, kind in wanted.items():
        places = schema.get_all_field_indices(name)
        if len(places) != 1:
            raise ValueError(f"it has {len(places)} columns {name}")
        there = schema.field(places[0]).type
        if name not in _COLUMNS and not pa.types.is_list(there):
            raise ValueError(f"{name}: {shorten(str(there))}: not lists")
        if (there if name in _COLUMNS else there.value_type) != kind:
            raise ValueError(f"{name}: {shorten(str(there))}: not {kind}")
    return wanted


def _check_sizes(file: pq.ParquetFile, columns: dict[str, Any], number: int) -> None:
    about = file.metadata
    if about.num_rows != number or not number:
        raise ValueError(f"{about.num_rows:,} rows, {number:,} in results.json")
    if number > MOST_ROWS:
        raise ValueError(f"{number:,} rows; at most {MOST_ROWS:,} are read")
    unpacked = 0
    for part in map(about.row_group, range(about.num_row_groups)):
        for one in map(part.column, range(part.num_columns)):
            name = one.path_in_schema.partition(".")[0]
            if name not in columns:
                continue
            unpacked += one.total_uncompressed_size
            if one.num_values > part.num_rows * (1 if name in _COLUMNS else TOP):
                raise ValueError(f"{name}: {one.num_values:,} values in {part.num_rows:,} rows")
    if unpacked > MOST_UNPACKED:
        raise ValueError(f"it unpacks to {unpacked:,} bytes; at most {MOST_UNPACKED:,} are read")


def _check_values(table: pa.Table, name: str) -> int:
    """Rejects nulls, long texts and invalid probabilities; returns the bytes of all texts."""
    size = 0
    for chunk in table.column(name).chunks:
        values = chunk
        if name not in _COLUMNS:
            _refuse_nulls(name, chunk)
            lengths = np.asarray(chunk.value_lengths())
            if len(lengths) and not 1 <= lengths.min() <= lengths.max() <= TOP:
                raise ValueError(f"{name}: lists of {lengths.min()} to {lengths.max()} values")
            values = chunk.flatten()
        _refuse_nulls(name, values)
        if pa.types.is_dictionary(values.type):
            if values.dictionary.null_count:
                raise ValueError(f"{name}: null")
            lengths = np.asarray(pc.binary_length(values.dictionary), np.int64)
            if len(lengths) and lengths.max() > LONGEST:
                raise ValueError(f"{name}: a text of {lengths.max():,} bytes")
            size += int(lengths[np.asarray(values.indices)].sum())
        elif pa.types.is_floating(values.type):
            numbers = np.asarray(values)
            wrong = ~((numbers >= 0) & (numbers <= 1.001))  # NaN is neither
            if wrong.any():
                raise ValueError(f"{name}: {numbers[wrong][0]} is not a probability")
    return size


def _refuse_nulls(name: str, values: pa.Array) -> None:
    if values.null_count:
        raise ValueError(f"{name}: null in {values.null_count:,} of {len(values):,} places")


def _check_pairs(table: pa.Table) -> None:
    """Rejects lists of classes and probabilities of different lengths."""
    for name in table.column_names:
        if name.startswith("top5"):
            other = name.replace("top5", "probabilities")
            lengths, others = (np.concatenate([*_lengths(table, one)]) for one in (name, other))
            if not np.array_equal(lengths, others):
                raise ValueError(f"{name} and {other} have different lengths")


def _lengths(table: pa.Table, name: str) -> Iterator[np.ndarray]:
    yield np.zeros(0, np.int32)
    for chunk in table.column(name).chunks:
        yield np.asarray(chunk.value_lengths())

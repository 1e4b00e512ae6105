"""Reads CSV lists."""

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path

from data_pipelines.errors import DataError, shorten, unknown
from data_pipelines.layouts.layout import SPLITS, check_path, expand, read_text

_LONGEST_SHOWN = 60
_MOST_COLUMNS = 256

Row = tuple[int, dict[str, str]]
"""The number of a row's last line, and its fields by column."""


def find_csv(name: str, root: str | Path | None, expected: str) -> Path:
    """Returns the CSV file of a user's own data.

    Args:
        name: the data set's name, for messages.
        root: the file, or a directory that holds exactly one.
        expected: a sketch of the file, for messages.

    Raises:
        DataError: no root, no such file, or a directory with no or several CSV files.
    """
    if root is None:
        raise DataError(f"{name}: root is not set\n{expected}")
    path = expand(root)
    if os.path.isfile(path):
        return path
    if not os.path.isdir(path):
        raise DataError(f"{name}: no such file or directory: {path}\n{expected}")
    files = sorted(path.glob("*.csv"))
    if len(files) != 1:
        found = ", ".join(file.name for file in files) or "none"
        raise DataError(
            f"{name}: {path} must hold exactly one *.csv file, found {found}; set root to the "
            f"file\n{expected}"
        )
    return files[0]


def read_rows(
    path: Path, required: Sequence[str], filled: Sequence[str], renamed: str = ""
) -> tuple[list[str], list[Row]]:
    """Reads the columns and rows of a CSV file; blank lines are skipped.

    Args:
        path: UTF-8, comma-separated; the first line names the columns, in any order and case.
        required: columns that must be present.
        filled: columns that no row may leave empty.
        renamed: "path=video,caption=text": names of columns in the file; see `rename`.

    Raises:
        DataError: the file cannot be read, lacks a column, or has a malformed row.
    """
    reader = csv.reader(io.StringIO(read_text(path, "CSV file"), newline=""), strict=True)
    try:
        columns = [column.strip().lower() for column in next(reader, [])]
        columns = rename(path, columns, renamed)
        _check_columns(path, columns, required)
        return columns, [
            (reader.line_num, _row(path, reader.line_num, columns, fields, filled))
            for fields in reader
            if any(field.strip() for field in fields)
        ]
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: not valid CSV: {error}") from error


def rename(path: Path, columns: list[str], renamed: str) -> list[str]:
    """Returns the columns of a file by the names that this package reads.

    Args:
        path: the file, for messages.
        columns: of its first line, in lower case.
        renamed: "path=video,caption=text": the column "video" is read as "path". A column of the
            file that already has that name is then ignored.

    Raises:
        DataError: a pair is malformed, or the file lacks the column.
    """
    for pair in filter(None, map(str.strip, renamed.split(","))):
        ours, equals, theirs = (part.strip().lower() for part in pair.partition("="))
        if not (ours and equals and theirs):
            raise DataError(
                f"columns={shorten(renamed)}: {shorten(pair)} is not NAME=COLUMN, as in "
                "columns=path=video,caption=text"
            )
        if theirs not in columns:
            raise unknown(f"column of {path}:", theirs, columns)
        columns = [
            ours if column == theirs else f"{column} (not read)" if column == ours else column
            for column in columns
        ]
    return columns


def by_split(path: Path, rows: Sequence[Row]) -> dict[str, list[tuple[str, dict[str, str]]]]:
    """Groups rows by their column "split", each with its position for messages.

    Raises:
        DataError: a split is unknown, or a value of the column "path" cannot be a path.
    """
    lists: dict[str, list[tuple[str, dict[str, str]]]] = {split: [] for split in SPLITS}
    for line, row in rows:
        where = f"{path}, line {line}"
        if row["split"] not in lists:
            raise unknown(f"split in {where}:", row["split"], SPLITS)
        check_path(row["path"], where)
        lists[row["split"]].append((where, row))
    return lists


def _check_columns(path: Path, columns: list[str], required: Sequence[str]) -> None:
    if len(columns) > _MOST_COLUMNS:
        raise DataError(
            f"{path}: the first line names {len(columns):,} columns; the limit is {_MOST_COLUMNS}"
        )
    missing = [column for column in required if column not in columns]
    if missing:
        split = "; split is train, val or test" if "split" in required else ""
        raise DataError(
            f"{path}: the first line lacks the columns {', '.join(missing)}; it has "
            f"{_shown(columns) or 'nothing'}. It must name at least {','.join(required)}, "
            f"separated by commas{split}"
        )
    repeated = sorted({column for column in columns if columns.count(column) > 1})
    if repeated:
        raise DataError(f"{path}: the first line names {_shown(repeated)} more than once")


def _shown(columns: Sequence[str]) -> str:
    return ", ".join(each if len(each) <= _LONGEST_SHOWN else shorten(each) for each in columns)


def _row(
    path: Path, line: int, columns: list[str], fields: list[str], filled: Sequence[str]
) -> dict[str, str]:
    if len(fields) != len(columns):
        raise DataError(
            f"{path}, line {line}: {len(fields)} fields, but the first line names {len(columns)} "
            'columns; enclose fields that contain a comma in quotation marks "…"'
        )
    row = {column: field.strip() for column, field in zip(columns, fields, strict=True)}
    for column in filled:
        if column in row and not row[column]:
            raise DataError(f"{path}, line {line}: {column} is empty; fill it in")
    return row

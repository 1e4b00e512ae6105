"""Finds a data set's directory and reads its text files, with bounds, for all layouts."""

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from data_pipelines.errors import DataError, shorten
from data_pipelines.examples import Dataset
from prompt_jax.storage.files import read_bytes

SPLITS = ("train", "val", "test")
# Limits of file systems, in bytes: a name and a whole path.
_LONGEST_NAME, _LONGEST_PATH = 255, 4096
# Digits of a label; more are an error in the file.
MOST_DIGITS = 9
# Limits of a list. The largest published one has eight million images and 450 MB.
_MOST_BYTES = 2**29
MOST_LINES = 10_000_000
# Brackets and commas of a JSON list, of which published ones have five million at most: one byte in
# the file can take up to a hundred bytes in memory.
_MOST_PARTS = 2**24
_LINE_BREAKS = b"\n\r\v\f\x1c\x1d\x1e"


class Layout(Protocol):
    """Declares the files of a data set and lists its examples."""

    @property
    def load(self) -> Callable[..., Dataset]:
        """Lists the examples: `load(name, root, template, **options) -> Dataset`.

        Args:
            name: the data set's name, for messages and results.
            root: the directory that contains the data set's directory, or that directory itself; a
                user's own data may also be a CSV file.
            template: the prompt of one class, with one `{}` for the class name; unused in
                text-video retrieval.
            **options: of the layout. Several have `domain`, a part of the data set (None: all of
                it), and `ignore_rotation`, which leaves images and frames as stored.

        Raises:
            DataError: no root, or missing or malformed files.
        """

    def expected(self) -> str:
        """Returns a sketch of the expected directories and files, for error messages."""


def find_home(
    name: str, root: str | Path | None, folder: str, marker: str, what: str, expected: str
) -> Path:
    """Returns the data set's own directory.

    Args:
        name: the data set's name, for messages.
        root: the directory that holds `folder`, or `folder` itself.
        folder: the data set's directory below a common root.
        marker: a file or directory that identifies it.
        what: describes `marker`, for messages.
        expected: the expected layout, for messages.

    Raises:
        DataError: no root, a root that is not a directory, or no `marker` in it.
    """
    base = root_directory(name, root, expected)
    homes = [base / folder, base]
    for home in homes:
        if os.path.exists(home / marker):
            return home
    looked = "".join(f"\n  {home / marker}" for home in homes)
    raise DataError(f"{name}: no {what}; looked for{looked}\n{expected}")


def root_directory(name: str, root: str | Path | None, expected: str) -> Path:
    """Returns `root` as a path; raises `DataError` if it is not set or is not a directory."""
    if root is None:
        raise DataError(f"{name}: root is not set\n{expected}")
    base = expand(root)
    if not os.path.isdir(base):
        raise DataError(f"{name}: root {base} is not a directory\n{expected}")
    return base


def expand(path: str | Path) -> Path:
    """Expands `~` in a path; an unknown user is left as it is."""
    return Path(os.path.expanduser(path))


def sketch(folder: str, contents: dict[str, str]) -> str:
    """Returns a directory sketch for error messages; `contents` maps paths in `folder` to notes."""
    lines = ["Expected layout:", "  <root>/", f"    {folder}/"]
    lines += [f"      {path}".ljust(44) + f" {what}" for path, what in contents.items()]
    lines.append(f"Set root to the directory that contains {folder}/, or to it.")
    return "\n".join(lines)


def read_lines(path: Path, what: str) -> list[tuple[int, str]]:
    """Returns the non-blank lines of a UTF-8 text file, stripped, each with its number from 1.

    Args:
        path: the file; a byte order mark at its start is dropped.
        what: describes the file, for messages.

    Raises:
        DataError: it cannot be read, is not a regular file, is not UTF-8, or has more than 512 MiB
            or `MOST_LINES` lines.
    """
    lines = enumerate(read_text(path, what).splitlines(), 1)
    return [(number, line.strip()) for number, line in lines if line.strip()]


def read_text(path: Path, what: str) -> str:
    """Returns the text of a UTF-8 file; see `read_lines` for arguments and errors."""
    try:
        content = read_bytes(path, _MOST_BYTES)
        if len(content) > MOST_LINES and sum(map(content.count, _LINE_BREAKS)) > MOST_LINES:
            raise ValueError(f"it has more than {MOST_LINES:,} lines")
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"cannot read the {what} {path}: it is not UTF-8 (byte {error.start}); save it as UTF-8"
        ) from error
    except OSError as error:
        raise DataError(f"cannot read the {what} {path}: {error.strerror or error}") from error
    except ValueError as error:
        # Not a regular file, too large, or an impossible path, e.g. with a null byte.
        raise DataError(f"cannot read the {what} {path}: {error}") from error


def read_json(path: Path, what: str) -> Any:
    """Returns the content of a UTF-8 JSON file; see `read_lines` for the arguments.

    Raises:
        DataError: it cannot be read, is not JSON, repeats a field of an object, is nested too
            deeply, has too many parts, or holds an integer of more than `MOST_DIGITS` digits.
    """
    text = read_text(path, what)
    if len(text) > _MOST_PARTS and sum(map(text.count, "[{,")) > _MOST_PARTS:
        raise DataError(
            f"cannot read the {what} {path}: it has more than {_MOST_PARTS:,} brackets and commas, "
            "the limit for lists"
        )

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice = [key for key, number in Counter(key for key, _ in pairs).items() if number > 1]
            raise DataError(
                f"{path}: an object of the {what} names {shorten(twice[0])} more than once; "
                "keep one, and remove or merge the others"
            )
        return found

    def whole(digits: str) -> int:
        number = len(digits.lstrip("-"))
        if number > MOST_DIGITS:
            problem = f"a number of {number:,} digits; labels have at most {MOST_DIGITS}"
            raise json.JSONDecodeError(problem, text, text.find(digits))
        return int(digits)

    try:
        return json.loads(text, object_pairs_hook=once, parse_int=whole)
    except json.JSONDecodeError as error:
        raise DataError(f"cannot read the {what} {path}: {error}") from error
    except RecursionError:
        raise DataError(
            f"cannot read the {what} {path}: its brackets are nested too deeply"
        ) from None


def check_path(image: str, where: str) -> None:
    """Checks a path of a list before it reaches the file system.

    Args:
        image: the path.
        where: its position in the list, for messages.

    Raises:
        DataError: it is not valid Unicode, holds a null byte, or is too long.
    """
    try:
        parts = [len(part) for part in image.encode("utf-8").split(b"/")]
    except UnicodeEncodeError:
        raise DataError(
            f"{where} has the path {shorten(image)}, which is not valid Unicode; rename the file"
        ) from None
    if "\0" in image:
        raise DataError(f"{where} has the path {shorten(image)}, which contains a null byte")
    if max(parts) > _LONGEST_NAME or sum(parts) + len(parts) > _LONGEST_PATH:
        raise DataError(
            f"{where} has the path {shorten(image)}; the limits are {_LONGEST_NAME} bytes for "
            f"each name in it and {_LONGEST_PATH:,} for the whole"
        )


def check_inside(image: str, where: str) -> None:
    """Checks that a path of a downloaded list stays inside the directory of images or videos.

    Args:
        image: the path.
        where: its position in the list, for messages.

    Raises:
        DataError: it is empty, absolute, contains "..", or fails `check_path`.
    """
    check_path(image, where)
    path = PurePosixPath(image)
    if not image or path.is_absolute() or ".." in path.parts:
        raise DataError(
            f"{where} has the path {image!r}; it must be a path inside the image directory: not "
            'empty, not absolute and without ".."'
        )

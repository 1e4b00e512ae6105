"""What all layouts share: finding the data set's folder, and reading its text files."""

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
# What file systems take: bytes of one name, and of a whole path.
_LONGEST_NAME, _LONGEST_PATH = 255, 4096
# More classes than anyone has: a longer label is a mistake, and Python counts no longer ones.
MOST_DIGITS = 9
# What a list can have. The largest of the field is of eight million images, 450 MB.
_MOST_BYTES = 2**29
MOST_LINES = 10_000_000
# Brackets and commas of a JSON list: the published ones have five million at most. What is made of
# each takes up to a hundred times the byte that it is in the file.
_MOST_PARTS = 2**24
_LINE_BREAKS = b"\n\r\v\f\x1c\x1d\x1e"


class Layout(Protocol):
    """How the files of a data set lie, and how to list them."""

    @property
    def load(self) -> Callable[..., Dataset]:
        """`load(name, root, template, **options) -> Dataset`; the options are its own."""

    def expected(self) -> str:
        """The folders and files that `load` looks for, as a sketch for error messages."""


def find_home(
    name: str, root: str | Path | None, folder: str, marker: str, what: str, expected: str
) -> Path:
    """The data set's own folder.

    Args:
        name: the data set's name, for messages.
        root: the folder that holds `folder`, or `folder` itself.
        folder: the data set's folder below a common root.
        marker: a file or folder in it, by which it is recognized.
        what: what `marker` is, in words.
        expected: the expected layout, for messages.

    Raises:
        DataError: no root, a root that is not a folder, or no `marker` in it.
    """
    if root is None:
        raise DataError(f"{name}: root is not set\n{expected}")
    base = expand(root)
    homes = [base / folder, base]
    for home in homes:
        if os.path.exists(home / marker):
            return home
    if not os.path.isdir(base):
        raise DataError(f"{name}: root {base} is not a folder\n{expected}")
    looked = "".join(f"\n  {home / marker}" for home in homes)
    raise DataError(f"{name}: no {what}; looked for{looked}\n{expected}")


def expand(path: str | Path) -> Path:
    """A path as people write it, with `~`; one of an unknown user stays as it is."""
    return Path(os.path.expanduser(path))


def sketch(folder: str, contents: dict[str, str]) -> str:
    """The folder sketch of an error message; `contents`: path in `folder` and what it is."""
    lines = ["Expected layout:", "  <root>/", f"    {folder}/"]
    lines += [f"      {path}".ljust(44) + f" {what}" for path, what in contents.items()]
    lines.append(f"Set root to the folder that holds {folder}/, or to it.")
    return "\n".join(lines)


def read_lines(path: Path, what: str) -> list[tuple[int, str]]:
    """The lines of a UTF-8 text file that are not blank, each with its number from 1.

    Args:
        path: the file; a byte order mark at its start is left out.
        what: what the file is, for messages.

    Raises:
        DataError: it cannot be read, is no regular file, is not UTF-8, or has more than 512 MiB or
            `MOST_LINES` lines.
    """
    lines = enumerate(read_text(path, what).splitlines(), 1)
    return [(number, line.strip()) for number, line in lines if line.strip()]


def read_text(path: Path, what: str) -> str:
    """A UTF-8 file's text; arguments and errors as of `read_lines`."""
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
        # It is no regular file, too large, or has a path that no file can have, e.g. with a null
        # byte.
        raise DataError(f"cannot read the {what} {path}: {error}") from error


def read_json(path: Path, what: str) -> Any:
    """A UTF-8 JSON file's content; arguments as of `read_lines`.

    Raises:
        DataError: it cannot be read, is not JSON, names a field of an object twice, is nested too
            deep, has too many parts, or holds a whole number of more than `MOST_DIGITS` digits.
    """
    text = read_text(path, what)
    if len(text) > _MOST_PARTS and sum(map(text.count, "[{,")) > _MOST_PARTS:
        raise DataError(
            f"cannot read the {what} {path}: it has more than {_MOST_PARTS:,} brackets and commas, "
            "and no published list has"
        )

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice = [key for key, number in Counter(key for key, _ in pairs).items() if number > 1]
            raise DataError(
                f"{path}: an object of the {what} names {shorten(twice[0])} more than once, and "
                "only one can count; remove or merge the others"
            )
        return found

    def whole(digits: str) -> int:
        number = len(digits.lstrip("-"))
        if number > MOST_DIGITS:
            problem = f"a number of {number:,} digits, and labels go from 0 on"
            raise json.JSONDecodeError(problem, text, text.find(digits))
        return int(digits)

    try:
        return json.loads(text, object_pairs_hook=once, parse_int=whole)
    except json.JSONDecodeError as error:
        raise DataError(f"cannot read the {what} {path}: {error}") from error
    except RecursionError:
        raise DataError(
            f"cannot read the {what} {path}: its brackets are nested thousands deep"
        ) from None


def check_path(image: str, where: str) -> None:
    """Refuses a path that no image can have, before a file system is asked for it.

    Args:
        image: the path of a list.
        where: its place in the list, for messages.

    Raises:
        DataError: it is not text, holds a null byte, or is too long.
    """
    try:
        parts = [len(part) for part in image.encode("utf-8").split(b"/")]
    except UnicodeEncodeError:
        raise DataError(
            f"{where} has the path {shorten(image)}, which is not text; rename the file"
        ) from None
    if "\0" in image:
        raise DataError(f"{where} has the path {shorten(image)}, which holds a null byte")
    if max(parts) > _LONGEST_NAME or sum(parts) + len(parts) > _LONGEST_PATH:
        raise DataError(
            f"{where} has the path {shorten(image)}; a name in it can have {_LONGEST_NAME} "
            f"bytes, and the whole {_LONGEST_PATH:,}"
        )


def check_inside(image: str, where: str) -> None:
    """Refuses a path that leaves the folder of images or videos: lists come from elsewhere, and
    must not make a run read other files.

    Args:
        image: the path of a list.
        where: its place in the list, for messages.

    Raises:
        DataError: it is empty, absolute, has "..", or is one that `check_path` refuses.
    """
    check_path(image, where)
    path = PurePosixPath(image)
    if not image or path.is_absolute() or ".." in path.parts:
        raise DataError(
            f"{where} has the path {image!r}; must be a path inside the image folder: not "
            'empty, not absolute and without ".."'
        )

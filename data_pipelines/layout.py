"""What all layouts share: finding the data set's folder, and reading its text files."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from data_pipelines.errors import DataError
from data_pipelines.examples import Dataset

SPLITS = ("train", "val", "test")


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
    base = Path(root).expanduser()
    homes = [base / folder, base]
    for home in homes:
        if (home / marker).exists():
            return home
    if not base.is_dir():
        raise DataError(f"{name}: root {base} is not a folder\n{expected}")
    looked = "".join(f"\n  {home / marker}" for home in homes)
    raise DataError(f"{name}: no {what}; looked for{looked}\n{expected}")


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
        DataError: it cannot be read, or is not UTF-8.
    """
    lines = enumerate(read_text(path, what).splitlines(), 1)
    return [(number, line.strip()) for number, line in lines if line.strip()]


def read_text(path: Path, what: str) -> str:
    """A UTF-8 file's text; arguments and errors as of `read_lines`."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"cannot read the {what} {path}: it is not UTF-8 (byte {error.start}); save it as UTF-8"
        ) from error
    except OSError as error:
        raise DataError(f"cannot read the {what} {path}: {error.strerror or error}") from error

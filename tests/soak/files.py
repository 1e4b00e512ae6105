"""The files of one input, by path, and how they are written to disk."""

import os
from pathlib import Path
from typing import NamedTuple


class Link(NamedTuple):
    """A symbolic link."""

    target: str


class Fifo(NamedTuple):
    """A named pipe without a writer: readers wait forever."""


class Folder(NamedTuple):
    """An empty directory."""


Entry = bytes | Link | Fifo | Folder
Files = dict[str, Entry]
"""Path below the input's folder, with "/", and what lies there."""


def write(files: Files, folder: Path) -> None:
    """Writes files to an existing directory; impossible names are left out."""
    for name, entry in files.items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            match entry:
                case Link(target):
                    path.symlink_to(target)
                case Fifo():
                    os.mkfifo(path)
                case Folder():
                    path.mkdir(exist_ok=True)
                case _:
                    path.write_bytes(entry)
        except (OSError, ValueError):  # too long, with a null character, or already taken
            continue


def collect(folder: Path) -> Files:
    """Returns all regular files below a directory, and empty directories."""
    found: Files = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file():
            found[name] = path.read_bytes()
        elif not any(path.iterdir()):
            found[name] = Folder()
    return found

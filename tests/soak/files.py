"""What one input is made of: a few small files, by their paths, and how they are put on disk."""

import os
from pathlib import Path
from typing import NamedTuple


class Link(NamedTuple):
    """A symbolic link."""

    target: str


class Fifo(NamedTuple):
    """A named pipe that nobody writes to: whoever opens it for reading waits forever."""


class Folder(NamedTuple):
    """An empty folder."""


Entry = bytes | Link | Fifo | Folder
Files = dict[str, Entry]
"""Path below the input's folder, with "/", and what lies there."""


def write(files: Files, folder: Path) -> None:
    """Puts files into a folder that is there; a name that no file can have is left out."""
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
        except (OSError, ValueError):  # too long, a zero byte in it, or taken by another
            continue


def collect(folder: Path) -> Files:
    """All regular files below a folder, and empty folders."""
    found: Files = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file():
            found[name] = path.read_bytes()
        elif not any(path.iterdir()):
            found[name] = Folder()
    return found

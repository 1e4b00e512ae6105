"""Text files that are written whole or not at all, also where the power fails."""

import os
import pathlib


def write_text(path: pathlib.Path, text: str) -> None:
    """Puts a file in place of the one that is there, at once and lastingly.

    Raises:
        OSError: it cannot be written; the one that is there stays.
    """
    unfinished = path.with_name(f"{path.name}.unfinished")
    try:
        with unfinished.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError:
        unfinished.unlink(missing_ok=True)  # on a full disk it takes the room that is missing
        raise
    sync_folder(path.parent)


def sync_folder(folder: pathlib.Path) -> None:
    """Waits until the names of files in a folder are on disk: writing a file does not."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)

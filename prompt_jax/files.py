"""Text files that are written whole or not at all, and JSON that is read strictly."""

import collections
import hashlib
import json
import os
import pathlib
from typing import Any


def read_json(path: pathlib.Path) -> Any:
    """What a UTF-8 JSON file holds.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not JSON as `parse_json` wants it.
    """
    return parse_json(path.read_text(encoding="utf-8"))


def parse_json(text: str) -> Any:
    """What JSON says.

    Strict where Python's reader is not: no key stands twice in an object, there is no NaN or
    infinity, and all text can be printed.

    Raises:
        ValueError: it is not such JSON, or its brackets are nested thousands deep.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(pairs)
        if len(content) < len(pairs):
            [(twice, _)] = collections.Counter(key for key, _ in pairs).most_common(1)
            raise ValueError(f"{twice[:80]!r} stands in it twice")
        return content

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no number of JSON")

    try:
        content = json.loads(text, object_pairs_hook=unique, parse_constant=refuse)
        json.dumps(content, ensure_ascii=False).encode("utf-8")  # halves of characters fail here
    except RecursionError:
        raise ValueError("its brackets are too deep") from None
    return content


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
    except OSError as error:
        unfinished.unlink(missing_ok=True)  # on a full disk it takes the room that is missing
        # A write to an open file does not say which one failed.
        raise OSError(error.errno, error.strerror, str(path)) from error
    sync_folder(path.parent)


def sync_folder(folder: pathlib.Path) -> None:
    """Waits until the names of files in a folder are on disk: writing a file does not."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def seal(content: dict[str, Any]) -> dict[str, Any]:
    """An object for a JSON file, with its digest: a disk may give back other figures."""
    return content | {"digest": _digest(content)}


def check_seal(content: dict[str, Any]) -> None:
    """Raises a ValueError if an object that has a digest is not what was written."""
    if "digest" in content and content["digest"] != _digest(content):
        raise ValueError("it is not what was written, its digest is another one")


def _digest(content):
    text = json.dumps({**content, "digest": ""}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]

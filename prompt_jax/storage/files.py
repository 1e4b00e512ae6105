"""Files that are written whole or not at all, and files of strangers that are read with bounds."""

import collections
import contextlib
import errno
import hashlib
import json
import math
import os
import pathlib
import reprlib
import shutil
import stat
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import pydantic
import pydantic_core

from prompt_jax.errors import escape

UNFINISHED = ".unfinished"
"""End of the name of what is being written."""

MOST_JSON = 64 * 2**20
"""Bytes of a JSON file, unless its reader allows more; results of 22,000 classes take 10 MB."""

Schema = TypeVar("Schema", bound=pydantic.BaseModel)


_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def kind_of(mode: int) -> str:
    """Returns what a file of an `st_mode` is, "a named pipe"; "" of a regular file."""
    return next((kind for is_kind, kind in _KINDS if is_kind(mode)), "")


def kind_at(path: str) -> str:
    """Returns what is at a path, see `kind_of`; "" also where nothing is, or can be."""
    try:
        return kind_of(os.stat(path).st_mode)
    except (OSError, ValueError):
        return ""


def read_bytes(path: pathlib.Path, most: int) -> bytes:
    """Returns the content of a regular file of at most `most` bytes.

    Nothing else is opened for reading: a FIFO would block, and a device never ends.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not a regular file, or larger.
    """
    # Without O_NONBLOCK, opening a FIFO waits for its writer.
    opened = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    status = os.fstat(opened)
    if not stat.S_ISREG(status.st_mode):
        os.close(opened)
        raise ValueError("it is not a regular file")
    with open(opened, "rb") as file:
        if status.st_size > most:
            raise ValueError(f"it has {status.st_size:,} bytes; at most {most:,} are read")
        # Room is taken for all that is asked for, so not for `most`.
        content = file.read(status.st_size + 1)
    if len(content) > status.st_size:
        raise ValueError("it grew while it was read; read it again when it is whole")
    return content


def read_json(path: pathlib.Path, most: int = MOST_JSON) -> Any:
    """Returns what a UTF-8 JSON file holds; see `read_bytes`.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not JSON as `parse_json` wants it, not a regular file, or too large.
    """
    return parse_json(read_bytes(path, most).decode("utf-8"))


def check(content: Any, schema: type[Schema]) -> Schema:
    """Returns the content of a JSON file as its declared schema.

    Raises:
        ValueError: names each field that is missing, unknown, or not what it can be (at most
            three), with what it held.
    """
    try:
        return schema.model_validate(content)
    except pydantic.ValidationError as error:
        raise ValueError(_explain(error)) from None


def _explain(error: pydantic.ValidationError) -> str:
    found = error.errors(include_url=False, include_context=False)
    lines = []
    for each in found[:3]:
        field = escape(".".join(map(str, each["loc"])))[:80] or "the whole"
        held = "" if each["type"] == "missing" else f" {escape(_SHOWN.repr(each['input']))}:"
        said = _WORDS.get(each["type"], each["msg"].removeprefix("Value error, "))
        lines.append(f"{field}:{held} {said}")
    more = f"; and {len(found) - 3:,} more" if len(found) > 3 else ""
    return "; ".join(lines) + more


_SHOWN = reprlib.Repr()
_SHOWN.maxstring = _SHOWN.maxother = 60
_SHOWN.maxlevel = _SHOWN.maxlist = _SHOWN.maxdict = _SHOWN.maxtuple = 3
_WORDS = {
    "missing": "it is missing",
    "extra_forbidden": "this version knows no such field",
}


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

    def finite(number: str) -> float:
        if not math.isfinite(value := float(number)):
            raise ValueError(f"{number[:80]} is too large a number")
        return value

    try:
        # This parser bounds the depth, where Python's can end the process.
        pydantic_core.from_json(text, allow_inf_nan=True)
    except ValueError as error:
        if "recursion" in str(error):
            raise ValueError("its brackets are too deep") from None
    try:
        content = json.loads(
            text, object_pairs_hook=unique, parse_float=finite, parse_constant=refuse
        )
        json.dumps(content, ensure_ascii=False).encode("utf-8")  # halves of characters fail here
    except RecursionError:
        raise ValueError("its brackets are too deep") from None
    return content


def write_text(path: pathlib.Path, text: str) -> None:
    """Replaces a text file atomically and durably; see `write_bytes`."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: pathlib.Path, content: bytes) -> None:
    """Replaces a file atomically and durably; see `write_files`."""
    write_files({path: content})


def write_files(contents: Mapping[pathlib.Path, bytes]) -> None:
    """Replaces files of one directory: all are written and read back before the first is replaced.

    Raises:
        OSError: one cannot be written; those that are there stay, and nothing else is left.
    """
    asides = {path: path.with_name(f"{path.name}{UNFINISHED}") for path in contents}
    path = pathlib.Path()
    try:
        for path, content in contents.items():
            _write_new(asides[path], content)
        for path, aside in asides.items():
            aside.replace(path)
    except BaseException as error:
        for aside in asides.values():  # on a full disk they take the room that is missing
            with contextlib.suppress(OSError):
                aside.unlink()
        if isinstance(error, OSError):
            # A write to an open file does not say which one failed.
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    for folder in {path.parent for path in contents}:
        sync_folder(folder)


def _write_new(path: pathlib.Path, content: bytes) -> None:
    path.unlink(missing_ok=True)  # what a kill left; and a link or a FIFO is not written through
    opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    with open(opened, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    if read_bytes(path, len(content)) != content:
        raise OSError(errno.EIO, "what was written is not what is read back")


def is_free(folder: pathlib.Path) -> bool:
    """Whether a directory is not there, or holds no more than what a kill or a full disk left."""
    if not folder.exists():
        return True
    return folder.is_dir() and all(path.name.endswith(UNFINISHED) for path in folder.iterdir())


@contextlib.contextmanager
def filling(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a directory to put files into, which appear in `folder` when the block ends.

    Where the block raises, or is killed, none of them does. What a kill left is removed.

    Args:
        folder: new, or there and without files of these names.
    """
    folder = folder.absolute()
    is_new = not folder.exists()
    aside = folder.with_name(f".{folder.name}{UNFINISHED}") if is_new else folder / UNFINISHED
    aside.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        yield aside
        if is_new:
            aside.rename(folder)
        else:
            # Not the directory itself: it may be the current one, or where a disk is mounted.
            for path in sorted(aside.iterdir(), reverse=True):
                path.rename(folder / path.name)
                (folder / f"{path.name}{UNFINISHED}").unlink(missing_ok=True)
            aside.rmdir()
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    sync_folder(folder.parent if is_new else folder)


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

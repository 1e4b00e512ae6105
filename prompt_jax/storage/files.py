"""Writes files atomically, and reads untrusted files with bounds."""

import collections
import contextlib
import errno
import fcntl
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

from prompt_jax.errors import PromptError, escape

UNFINISHED = ".unfinished"
"""Suffix of files and directories that are being written."""

MOST_JSON = 64 * 2**20
"""Default limit in bytes of a JSON file; results of 22,000 classes take 10 MB."""

Schema = TypeVar("Schema", bound=pydantic.BaseModel)


_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def kind_of(mode: int) -> str:
    """Returns the type of a file by `st_mode`, e.g. "a named pipe"; "" for a regular file."""
    return next((kind for is_kind, kind in _KINDS if is_kind(mode)), "")


def kind_at(path: str) -> str:
    """Returns the type of file at a path, see `kind_of`; "" also if there is none."""
    try:
        return kind_of(os.stat(path).st_mode)
    except (OSError, ValueError):
        return ""


def read_bytes(path: pathlib.Path, most: int) -> bytes:
    """Returns the content of a regular file of at most `most` bytes.

    Other types are refused: a FIFO would block, and a device never ends.

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
        # `read` allocates what is asked for, so not `most`.
        content = file.read(status.st_size + 1)
    if len(content) > status.st_size:
        raise ValueError("it grew while it was read; read it again when it is complete")
    return content


def read_json(path: pathlib.Path, most: int = MOST_JSON) -> Any:
    """Returns the content of a UTF-8 JSON file; see `read_bytes`.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not valid for `parse_json`, not a regular file, or too large.
    """
    return parse_json(read_bytes(path, most).decode("utf-8"))


def check(content: Any, schema: type[Schema]) -> Schema:
    """Validates the content of a JSON file against a schema, and returns it as one.

    Raises:
        ValueError: names the fields that are missing, unknown or invalid (at most three), and their
            values.
    """
    try:
        return schema.model_validate(content)
    except pydantic.ValidationError as error:
        raise ValueError(describe_invalid(error)) from None


def describe_invalid(error: pydantic.ValidationError) -> str:
    """Returns the invalid fields, at most three, with their values and reasons."""
    found = error.errors(include_url=False, include_context=False)
    lines = []
    for each in found[:3]:
        field = escape(".".join(map(str, each["loc"])))[:80] or "the whole"
        held = "" if each["type"] == "missing" else f" {escape(_SHOWN.repr(each['input']))}:"
        reason = _REASONS.get(each["type"], each["msg"].removeprefix("Value error, "))
        lines.append(f"{field}:{held} {reason}")
    more = f"; and {len(found) - 3:,} more" if len(found) > 3 else ""
    return "; ".join(lines) + more


_SHOWN = reprlib.Repr()
_SHOWN.maxstring = _SHOWN.maxother = 60
_SHOWN.maxlevel = _SHOWN.maxlist = _SHOWN.maxdict = _SHOWN.maxtuple = 3
_REASONS = {
    "missing": "it is missing",
    "extra_forbidden": "this version knows no such field",
}


def parse_json(text: str) -> Any:
    """Parses JSON strictly: no duplicate keys, NaN, infinity or unpaired surrogates.

    Raises:
        ValueError: it is not such JSON, or its brackets are nested thousands deep.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(pairs)
        if len(content) < len(pairs):
            [(twice, _)] = collections.Counter(key for key, _ in pairs).most_common(1)
            raise ValueError(f"key {twice[:80]!r} occurs twice")
        return content

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not valid JSON")

    def finite(number: str) -> float:
        if not math.isfinite(value := float(number)):
            raise ValueError(f"{number[:80]} is too large")
        return value

    try:
        # This parser bounds the depth; Python's can crash the process.
        pydantic_core.from_json(text, allow_inf_nan=True)
    except ValueError as error:
        if "recursion" in str(error):
            raise ValueError("its brackets are nested too deeply") from None
    try:
        content = json.loads(
            text, object_pairs_hook=unique, parse_float=finite, parse_constant=refuse
        )
        json.dumps(content, ensure_ascii=False).encode("utf-8")  # fails on unpaired surrogates
    except RecursionError:
        raise ValueError("its brackets are nested too deeply") from None
    return content


def write_text(path: pathlib.Path, text: str) -> None:
    """Replaces a text file atomically and durably; see `write_bytes`."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: pathlib.Path, content: bytes) -> None:
    """Replaces a file atomically and durably; see `write_files`."""
    write_files({path: content})


def write_files(contents: Mapping[pathlib.Path, bytes]) -> None:
    """Replaces files of one directory; writes and reads back all before replacing the first.

    Raises:
        OSError: one cannot be written; existing files stay, and temporary ones are removed.
    """
    asides = {path: path.with_name(f"{path.name}{UNFINISHED}") for path in contents}
    path = pathlib.Path()
    try:
        for path, content in contents.items():
            _write_new(asides[path], content)
        for path, aside in asides.items():
            aside.replace(path)
    except BaseException as error:
        for aside in asides.values():  # they take space on a full disk
            with contextlib.suppress(OSError):
                aside.unlink()
        if isinstance(error, OSError):
            # Errors of writes to an open file do not name it.
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    for folder in {path.parent for path in contents}:
        sync_folder(folder)


def _write_new(path: pathlib.Path, content: bytes) -> None:
    path.unlink(missing_ok=True)  # left by a kill; or a link or FIFO, which must not be followed
    opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    with open(opened, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    if read_bytes(path, len(content)) != content:
        raise OSError(errno.EIO, "the content read back differs")


def is_free(folder: pathlib.Path) -> bool:
    """Returns whether a directory is missing or empty, apart from unfinished files."""
    if not folder.exists():
        return True
    return folder.is_dir() and all(path.name.endswith(UNFINISHED) for path in folder.iterdir())


@contextlib.contextmanager
def filling(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a temporary directory whose files are moved to `folder` when the block ends.

    If the block raises or the process is killed, none is moved. Leftovers of a kill are removed.

    Args:
        folder: a new directory, or an existing one without files of these names.
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
            # Not the directory itself, which may be the current one or a mount point.
            for path in sorted(aside.iterdir(), reverse=True):
                path.rename(folder / path.name)
                (folder / f"{path.name}{UNFINISHED}").unlink(missing_ok=True)
            aside.rmdir()
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    sync_folder(folder.parent if is_new else folder)


def lock(folder: pathlib.Path) -> int:
    """Opens and locks a directory; the lock lasts until it is closed or the process ends.

    Raises:
        PromptError: another process has locked it.
    """
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(opened)
        raise PromptError(
            f"another process is writing {folder}; wait until it has finished, then run again"
        ) from None
    return opened


def sync_folder(folder: pathlib.Path) -> None:
    """Waits until the entries of a directory are on disk, which syncing its files does not do."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def seal(content: dict[str, Any]) -> dict[str, Any]:
    """Adds a digest to an object for a JSON file, to detect damage."""
    return content | {"digest": _digest(content)}


def check_seal(content: dict[str, Any]) -> None:
    """Raises a ValueError if an object does not match its digest, if it has one."""
    if "digest" in content and content["digest"] != _digest(content):
        raise ValueError("its content does not match its digest")


def _digest(content):
    text = json.dumps({**content, "digest": ""}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]

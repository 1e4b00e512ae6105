"""Encodes the files of an index that are new or changed, and keeps the features of the others."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from prompt_jax.cli import progress
from prompt_jax.errors import BadImage, PromptError
from prompt_jax.indexing import entries
from prompt_jax.indexing.entries import Entry, Kind

CHUNK = {"image": 64, "video": 16}  # files between which the bar advances
SECONDS_BETWEEN_SAVES = 30.0
SAVING_SHARE = 20  # times the last save, at least, between two of them

Encode = Callable[[Kind, list[str], Callable[[BadImage], None]], np.ndarray]
"""Returns features float32[n, d] of the files of one kind; NaN, after a call with the error, for
those that cannot be read."""

Save = Callable[[list[Entry], np.ndarray], None]


@dataclasses.dataclass(frozen=True)
class Built:
    """The outcome of `build`.

    Attributes:
        entries: of all files that were found.
        features: float32[rows, d], one row for each different content.
        encoded: number of files that were encoded.
        removed: number of files of the earlier index that were not found any more.
    """

    entries: list[Entry]
    features: np.ndarray
    encoded: int
    removed: int


class _Features:
    """Features that grow; one row for each content, as an image or as a video."""

    def __init__(self, earlier: Sequence[Entry], features: np.ndarray):
        self._rows = {(one.kind, one.hash): one.row for one in earlier if one.row >= 0}
        self._parts, self._height = [features], len(features)

    def row(self, entry: Entry) -> int:
        """Returns the row of an entry's content; -1 if there is none."""
        return self._rows.get((entry.kind, entry.hash), -1)

    def add(self, some: Sequence[Entry], features: np.ndarray) -> None:
        """Adds the features of entries, float32[n, d]."""
        for number, entry in enumerate(some, self._height):
            self._rows[entry.kind, entry.hash] = number
        self._parts.append(features)
        self._height += len(some)

    def array(self) -> np.ndarray:
        """Returns all rows."""
        self._parts = [np.concatenate(self._parts)]
        return self._parts[0]


def build(
    found: Sequence[tuple[str, Kind]],
    earlier: Sequence[Entry],
    features: np.ndarray,
    encode: Encode,
    save: Save,
    title: str = "",
) -> Built:
    """Returns an index of the files that were found.

    A file is encoded only if none with the same content was, under any name. Those that could not
    be read are tried again.

    Args:
        found: paths and kinds, see `entries.find`.
        earlier: entries of the earlier index; empty if there is none.
        features: its features float32[rows, d].
        encode: encodes files.
        save: called with what is complete, now and then, so that an interrupted call loses little,
            and at the end if anything changed.
        title: of the progress bar; "": none is shown.

    Raises:
        PromptError: features are not finite.
    """
    before = {entry.path: entry for entry in earlier}
    table, done, encoded = _Features(earlier, features), dict[str, Entry](), 0
    last, pause = time.monotonic(), SECONDS_BETWEEN_SAVES
    with progress.bar(title, len(found)) if title else progress.silence() as advance:
        for chunk in _chunks(found):
            some = [entries.identify(path, kind, before.get(path)) for path, kind in chunk]
            added, errors = _encode_new(some, table, encode)
            encoded += added
            done |= {entry.path: _completed(entry, table, errors) for entry in some}
            advance(len(done), "")
            if added and time.monotonic() - last > pause:
                started = time.monotonic()
                save(list({**before, **done}.values()), table.array())
                last = time.monotonic()
                pause = max(SECONDS_BETWEEN_SAVES, SAVING_SHARE * (last - started))
    kept, compact = _compacted(list(done.values()), table.array())
    if kept != list(earlier):
        save(kept, compact)
    return Built(kept, compact, encoded, len(before.keys() - done.keys()))


def _chunks(found: Sequence[tuple[str, Kind]]) -> Iterator[list[tuple[str, Kind]]]:
    """Yields files in order, so many that the bar advances after equal work."""
    chunk: list[tuple[str, Kind]] = []
    share = 0.0
    for path, kind in found:
        chunk.append((path, kind))
        share += 1 / CHUNK[kind]
        if share >= 1:
            yield chunk
            chunk, share = [], 0.0
    if chunk:
        yield chunk


def _encode_new(
    some: Sequence[Entry], table: _Features, encode: Encode
) -> tuple[int, dict[tuple[Kind, str], str]]:
    """Encodes new contents; returns how many, and the errors of others by kind and hash."""
    added, errors = 0, dict[tuple[Kind, str], str]()
    kinds: tuple[Kind, ...] = ("image", "video")
    for kind in kinds:
        # A dict, so that copies are encoded once.
        fresh = {
            one.hash: one
            for one in some
            if one.kind == kind and not one.error and table.row(one) < 0
        }
        if not fresh:
            continue
        bad: list[BadImage] = []
        features = encode(kind, [one.path for one in fresh.values()], bad.append)
        right = [bool(np.isfinite(feature).all()) for feature in features]
        failed = [one for one, is_right in zip(fresh.values(), right, strict=True) if not is_right]
        if len(failed) != len(bad):
            raise PromptError(
                f"{failed[0].path}: its features are NaN or infinite; use another model, or "
                "dtype='float32'"
            )
        # Errors come in the order of their files.
        errors |= {(kind, one.hash): error.reason for one, error in zip(failed, bad, strict=True)}
        read = [one for one, is_right in zip(fresh.values(), right, strict=True) if is_right]
        table.add(read, features[right])
        added += len(read)
    return added, errors


def _completed(entry: Entry, table: _Features, errors: dict[tuple[Kind, str], str]) -> Entry:
    error = entry.error or errors.get((entry.kind, entry.hash), "")
    return dataclasses.replace(entry, row=-1 if error else table.row(entry), error=error)


def _compacted(done: Sequence[Entry], features: np.ndarray) -> tuple[list[Entry], np.ndarray]:
    """Returns the entries and the features without rows that no entry has."""
    used = sorted({entry.row for entry in done if entry.row >= 0})
    moved = {row: number for number, row in enumerate(used)} | {-1: -1}
    return [dataclasses.replace(one, row=moved[one.row]) for one in done], features[used]

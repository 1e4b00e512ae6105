"""An index of images and videos, and what a search in it finds."""

import dataclasses
import io
import os
import pathlib

import numpy as np

from prompt_jax.errors import PromptError, escape
from prompt_jax.indexing import stored
from prompt_jax.indexing.entries import Entry, Kind
from prompt_jax.indexing.stored import Encoder
from prompt_jax.storage import files
from prompt_jax.storage.parquet import to_bytes


@dataclasses.dataclass(frozen=True)
class Hit:
    """A file that a search found.

    Attributes:
        rank: from 1, the most similar first.
        path: absolute path.
        kind: "image" or "video".
        similarity: cosine of the features of query and file, -1 to 1. Only the order within one
            search has a meaning: with CLIP, 0.3 is much for a text, and 0.9 little for an image.
        copies: paths of other files with the same content.
    """

    rank: int
    path: str
    kind: Kind
    similarity: float
    copies: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Returns one escaped line: rank, similarity, path and the number of copies."""
        number = len(self.copies)
        more = f"  (and {number:,} cop{'ies' if number > 1 else 'y'})" if number else ""
        return f"{self.rank:>3}  {self.similarity:.3f}  {escape(self.path)}{more}"


@dataclasses.dataclass(frozen=True, eq=False)
class Index:
    """Features of images and videos, made by `Model.index` and searched by `Model.search`.

    Attributes:
        encoder: what made the features.
        entries: of the files, also of those that could not be read.
        rows: float32[R, d], L2-normalized features, one for each different content; an entry has
            the number of its row.
        encoded: number of files that were encoded now, not before.
        removed: number of files that were gone since.
        left_out: files in the directories that are no images or videos by their suffix.
    """

    encoder: Encoder
    entries: tuple[Entry, ...]
    rows: np.ndarray
    encoded: int = 0
    removed: int = 0
    left_out: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Shows the number of files and of those that could not be read."""
        bad = f", {len(self.errors):,} could not be read" if self.errors else ""
        return f"Index({len(self):,} files{bad})"

    def __len__(self) -> int:
        """The number of files that can be found."""
        return len(self.entries) - len(self.errors)

    @property
    def errors(self) -> dict[str, str]:
        """Why files could not be read, by path."""
        return {entry.path: entry.error for entry in self.entries if entry.error}

    @property
    def readable(self) -> list[Entry]:
        """The entries that have features."""
        return [entry for entry in self.entries if not entry.error]

    def features(self) -> np.ndarray:
        """Returns the features of `readable`, float32[N, d]."""
        return self.rows[[entry.row for entry in self.readable]]

    def nearest(self, feature: np.ndarray, top_k: int) -> list[Hit]:
        """Returns the most similar files to a feature float32[d], the best first.

        Files with equal content are one hit.
        """
        similarities = self.rows @ feature
        order = np.argsort(-similarities, kind="stable")[:top_k].tolist()
        of_row: dict[int, list[Entry]] = {row: [] for row in order}
        for entry in self.readable:
            if entry.row in of_row:
                of_row[entry.row].append(entry)
        hits = []
        for rank, (row, (first, *others)) in enumerate(of_row.items(), 1):
            copies = tuple(other.path for other in others)
            hits.append(Hit(rank, first.path, first.kind, float(similarities[row]), copies))
        return hits

    def export(self, stem: str | os.PathLike) -> tuple[pathlib.Path, pathlib.Path]:
        """Writes the features for other programs: STEM.npy and STEM.parquet.

        The first is float32[N, d]. The second has the same rows with the columns path, kind, hash
        (SHA-256 of the content) and embedding (a list of d float32), for a vector database.

        Args:
            stem: path without the suffix.

        Raises:
            PromptError: one of the files exists.
            OSError: one cannot be written.
        """
        import pyarrow as pa  # here, because other uses of a model do not need it

        npy, parquet = export_files(stem)
        found, readable = self.features(), self.readable
        flat = pa.array(found.reshape(-1), pa.float32())
        columns = {name: [getattr(one, name) for one in readable] for name in _EXPORTED}
        listed = pa.FixedSizeListArray.from_arrays(flat, found.shape[1])
        npy.parent.mkdir(parents=True, exist_ok=True)
        files.write_files(
            {npy: _as_npy(found), parquet: to_bytes({**columns, "embedding": listed})}
        )
        return npy, parquet


_EXPORTED = ("path", "kind", "hash")


def export_files(stem: str | os.PathLike) -> tuple[pathlib.Path, pathlib.Path]:
    """Returns the files that `Index.export` writes; raises its PromptError."""
    base = pathlib.Path(stem)
    if not base.name:
        raise PromptError(f"{os.fspath(stem)!r} has no file name; pass directory/name")
    made = base.with_name(f"{base.name}.npy"), base.with_name(f"{base.name}.parquet")
    for path in made:
        if os.path.lexists(path):
            raise PromptError(f"{path} exists already; remove it, or pass another name")
    return made


def _as_npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def load(folder: str | os.PathLike) -> Index:
    """Reads an index from disk; its files are not looked at.

    Raises:
        PromptError: it is not an index, or damaged.
    """
    encoder, entries, rows = stored.read(pathlib.Path(folder))
    return Index(encoder, tuple(entries), rows)

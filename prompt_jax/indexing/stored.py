"""Keeps an index on disk: index.json, files.parquet and features.safetensors.

Nothing in these files is run. Their content is checked against a declared schema, and sizes before
memory is allocated, because an index may come from others.
"""

import hashlib
import pathlib
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import numpy as np
import pydantic
import safetensors
import safetensors.numpy
from pydantic import Field

from prompt_jax.errors import PromptError, escape, shorten
from prompt_jax.indexing.entries import Entry
from prompt_jax.inputs.preparation import Inputs
from prompt_jax.storage import files, schemas
from prompt_jax.storage.parquet import open_untrusted, to_bytes

ABOUT = "index.json"
FILES: Literal["files.parquet"] = "files.parquet"
FEATURES: Literal["features.safetensors"] = "features.safetensors"
Part = Literal["files.parquet", "features.safetensors"]
MOST_FILES = 5 * 10**6
MOST_FEATURES = 2**33  # bytes; 2 million files with 1,024 numbers each
MOST_PARQUET = 2**30  # bytes, also unpacked
MOST_ABOUT = 2**16  # bytes
LONGEST = 2**15  # bytes of a path or an error
_HEADER = 2**12  # bytes of a safetensors header
_UNIT = 0.02  # by which the norm of a feature may differ from 1, as in bfloat16
_COLUMNS = {
    "path": "string",
    "kind": "string",
    "hash": "string",
    "stamp": "string",
    "row": "int32",
    "error": "string",
}
_HASH = re.compile("[0-9a-f]{64}")
_STAMP = re.compile("[0-9a-f-]{1,80}")

Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Encoder(pydantic.BaseModel):
    """Identifies what makes the features of an index; features of equal ones are comparable.

    Attributes:
        backbone: hash of the CLIP, as `backbone_hash` in model.json.
        method: the method whose encoders are used; "": those of the frozen CLIP.
        prompts: hash of the method's prompts and settings; "" without a method.
        dtype, precision: of the towers.
        inputs: how images, or the videos of a video model, are prepared.
        frames: per video.
    """

    model_config = schemas.STRICT | {"frozen": True}
    backbone: schemas.Text
    method: schemas.Text
    prompts: schemas.Text
    dtype: schemas.Text
    precision: schemas.Text
    inputs: schemas.of_dataclass(Inputs)  # type: ignore[valid-type]
    frames: schemas.Count


class About(pydantic.BaseModel):
    """Declares index.json.

    Attributes:
        format: version of the three files.
        encoder: what made the features.
        width: d, numbers per feature.
        rows: number of features, one for each different content.
        files: number of rows in files.parquet.
        sha256: of the two other files, by name.
    """

    model_config = schemas.STRICT
    format: Literal[1]
    encoder: Encoder
    width: schemas.Count
    rows: Annotated[int, Field(ge=0, le=MOST_FILES)]
    files: Annotated[int, Field(ge=0, le=MOST_FILES)]
    sha256: dict[Part, Digest]


def write(
    folder: pathlib.Path, encoder: Encoder, entries: list[Entry], features: np.ndarray
) -> None:
    """Writes an index, replacing an earlier one as a whole.

    Args:
        folder: made if it is missing.
        encoder: what made the features.
        entries: of the files.
        features: float32[rows, d].

    Raises:
        OSError: it cannot be written.
    """
    import pyarrow as pa  # here, because other uses of a model do not need it

    folder.mkdir(parents=True, exist_ok=True)
    columns = {
        name: pa.array([getattr(entry, name) for entry in entries], kind)
        for name, kind in _COLUMNS.items()
    }
    contents: dict[Part, bytes] = {
        FILES: to_bytes(columns),
        FEATURES: safetensors.numpy.save({"features": np.ascontiguousarray(features, np.float32)}),
    }
    about = About(
        format=1,
        encoder=encoder,
        width=features.shape[1],
        rows=len(features),
        files=len(entries),
        sha256={name: hashlib.sha256(data).hexdigest() for name, data in contents.items()},
    )
    whole = {folder / name: data for name, data in contents.items()}
    files.write_files({**whole, folder / ABOUT: f"{about.model_dump_json(indent=1)}\n".encode()})


def read(folder: pathlib.Path) -> tuple[Encoder, list[Entry], np.ndarray]:
    """Returns what `write` wrote.

    Raises:
        PromptError: names the file and what is wrong with it.
    """
    import pyarrow as pa

    name: str = ABOUT
    try:
        about = _about(files.read_json(folder / ABOUT, MOST_ABOUT))
        name = FEATURES
        most = 4 * about.rows * about.width + _HEADER
        features = _features(_checked(folder, FEATURES, about, most), about)
        name = FILES
        entries = list(_entries(_checked(folder, FILES, about, MOST_PARQUET), about))
    except FileNotFoundError as error:
        raise PromptError(f"{folder} is not an index: it has no {name}") from error
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = escape(str(error).splitlines()[0])[:300] if str(error) else type(error).__name__
        raise PromptError(
            f"{folder / name} cannot be used: {reason}; delete the directory, and index again"
        ) from error
    return about.encoder, entries, features


def _about(content: Any) -> About:
    about = files.check(content, About)
    if about.sha256.keys() != {FILES, FEATURES}:
        raise ValueError(f"sha256: it must have {FILES} and {FEATURES}")
    if 4 * about.rows * about.width > MOST_FEATURES:
        raise ValueError(
            f"rows: {about.rows:,} of {about.width:,} numbers; at most {MOST_FEATURES:,} bytes are "
            "read"
        )
    return about


def _checked(folder: pathlib.Path, name: Part, about: About, most: int) -> bytes:
    content = files.read_bytes(folder / name, most)
    if hashlib.sha256(content).hexdigest() != about.sha256[name]:
        raise ValueError(f"its content does not match sha256 in {ABOUT}")
    return content


def _features(content: bytes, about: About) -> np.ndarray:
    try:
        arrays = safetensors.numpy.load(content)
    except (safetensors.SafetensorError, KeyError, TypeError) as error:
        raise ValueError(str(error)) from None
    found = {name: f"{array.dtype}{list(array.shape)}" for name, array in arrays.items()}
    wanted = {"features": f"float32[{about.rows}, {about.width}]"}
    if found != wanted:
        raise ValueError(f"it has {shorten(str(found))}; {ABOUT} declares {wanted}")
    features = arrays["features"]
    norms = np.linalg.norm(features, axis=1)
    if not (np.abs(norms - 1) <= _UNIT).all():  # NaN fails, too
        row = int(np.argmin(np.abs(norms - 1) <= _UNIT))
        raise ValueError(f"the feature in row {row} has the length {norms[row]}, not 1")
    return features


def _entries(content: bytes, about: About) -> Iterator[Entry]:
    file = open_untrusted(content)
    types = dict(zip(file.schema_arrow.names, map(str, file.schema_arrow.types), strict=True))
    if types != _COLUMNS or len(file.schema_arrow.names) != len(_COLUMNS):
        shown = shorten(", ".join(f"{name}: {kind}" for name, kind in types.items()), 200)
        raise ValueError(f"it has the columns {shown}; an index has {', '.join(_COLUMNS)}")
    if file.metadata.num_rows != about.files:
        raise ValueError(f"it has {file.metadata.num_rows:,} rows; {ABOUT} says {about.files:,}")
    groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
    if (size := sum(group.total_byte_size for group in groups)) > MOST_PARQUET:
        raise ValueError(f"it unpacks to {size:,} bytes; at most {MOST_PARQUET:,} are read")
    room = MOST_PARQUET
    for number in range(file.num_row_groups):
        table = file.read_row_group(number)
        table.validate(full=True)
        if any(column.null_count for column in table.columns):
            raise ValueError("it has null values")
        room -= table.nbytes
        if room < 0:
            raise ValueError(f"it unpacks to more than {MOST_PARQUET:,} bytes")
        for row in table.to_pylist():
            yield _entry(row, about.rows)


def _entry(row: dict[str, Any], rows: int) -> Entry:
    entry = Entry(**row)
    if max(len(entry.path), len(entry.error)) > LONGEST or not entry.path or "\0" in entry.path:
        raise ValueError(f"path: {shorten(entry.path)} is empty, too long or not a path")
    if entry.kind not in ("image", "video"):
        raise ValueError(f"kind: {shorten(entry.kind)} is neither image nor video")
    if not -1 <= entry.row < rows:
        raise ValueError(f"row: {entry.row}; features.safetensors has {rows:,} rows")
    if entry.row >= 0 and not (_HASH.fullmatch(entry.hash) and _STAMP.fullmatch(entry.stamp)):
        raise ValueError(f"hash, stamp: {shorten(entry.hash)}, {shorten(entry.stamp)}")
    if (entry.row < 0) != bool(entry.error):
        raise ValueError(f"{shorten(entry.path)} must have either a row or an error")
    return entry

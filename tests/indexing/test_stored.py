"""An index on disk that is damaged, or made to do harm, is refused with the reason."""

import dataclasses
import hashlib
import json
import os
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from prompt_jax.errors import PromptError
from prompt_jax.indexing import stored
from prompt_jax.indexing.entries import Entry
from prompt_jax.inputs.preparation import Inputs

INPUTS = Inputs(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "half")
ENCODER = stored.Encoder(
    backbone="0" * 16,
    method="",
    prompts="",
    dtype="float32",
    precision="highest",
    inputs=dataclasses.asdict(INPUTS),
    frames=8,
)
ROWS = np.eye(2, 4, dtype=np.float32)
ENTRIES = [
    Entry("/a.png", "image", "a" * 64, "1-2-3", 0),
    Entry("/b.mp4", "video", "b" * 64, "4-5-6", 1),
    Entry("/c.png", "image", "c" * 64, "7-8-9", -1, "truncated"),
]


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("indexes") / "sound"
    stored.write(folder, ENCODER, ENTRIES, ROWS)
    return folder


@pytest.fixture
def folder(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / "index")


def test_what_is_written_is_read(sound):
    encoder, entries, rows = stored.read(sound)
    assert (encoder, entries) == (ENCODER, ENTRIES)
    np.testing.assert_array_equal(rows, ROWS)
    assert sorted(os.listdir(sound)) == ["features.safetensors", "files.parquet", "index.json"]


def replace(folder, name, content):
    """Replaces a file, with its digest in index.json, as somebody with bad intentions would."""
    (folder / name).write_bytes(content)
    about = json.loads((folder / "index.json").read_text())
    about["sha256"][name] = hashlib.sha256(content).hexdigest()
    (folder / "index.json").write_text(json.dumps(about))


def refused(folder):
    with pytest.raises(PromptError) as error:
        stored.read(folder)
    assert "delete the directory, and index again" in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", ["files.parquet", "features.safetensors"])
def test_a_changed_file_is_refused(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    assert f"{name} cannot be used: its content does not match sha256" in refused(folder)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("format", 2, "format: 2"),
        ("rows", -1, "rows: -1"),
        ("rows", 5_000_000, "features.safetensors cannot be used"),
        ("width", 10**6, "features.safetensors cannot be used"),
        ("files", "3", "files: '3'"),
        ("sha256", {}, "sha256: it must have files.parquet and features.safetensors"),
        ("sha256", {"../../etc/passwd": "0" * 64}, "sha256.../../etc/passwd"),
        ("encoder", {}, "encoder.backbone: it is missing"),
        ("command", "rm", "command: 'rm': this version knows no such field"),
    ],
)
def test_fields_of_index_json_are_checked(folder, field, value, message):
    about = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps({**about, field: value}))
    assert message in refused(folder)


def test_sizes_are_bounded_before_memory_is_allocated(folder):
    about = json.loads((folder / "index.json").read_text())
    about |= {"rows": 5_000_000, "width": 1_000_000}
    (folder / "index.json").write_text(json.dumps(about))
    assert "rows: 5,000,000 of 1,000,000 numbers" in refused(folder)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"features": ROWS.astype(np.float64)}, "index.json declares"),
        ({"features": ROWS[:1]}, "index.json declares"),
        ({"others": ROWS}, "index.json declares"),
        ({"features": ROWS * np.float32(np.nan)}, "the feature in row 0 has the length nan"),
        ({"features": ROWS * np.float32([[1], [9]])}, "the feature in row 1 has the length 9.0"),
    ],
)
def test_features_are_checked(folder, arrays, message):
    replace(folder, "features.safetensors", safetensors.numpy.save(arrays))
    assert message in refused(folder)


def test_features_that_are_no_safetensors_are_not_unpickled(folder):
    replace(folder, "features.safetensors", b"\x80\x04cos\nsystem\n(S'false'\ntR.")
    assert "features.safetensors cannot be used" in refused(folder)


GOOD = {name: [getattr(one, name) for one in ENTRIES] for name in stored._COLUMNS}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"row": [0, 2, -1]}, "row: 2; features.safetensors has 2 rows"),
        ({"row": [0, -2, -1]}, "row: -2"),
        ({"row": [0, 1, 1]}, "'/c.png' must have either a row or an error"),
        ({"kind": ["image", "program", "image"]}, "kind: 'program' is neither"),
        ({"hash": ["x", "b" * 64, "c" * 64]}, "hash, stamp: 'x', '1-2-3'"),
        ({"path": ["", "/b", "/c"]}, "path: '' is empty"),
        ({"path": ["/a\0", "/b", "/c"]}, r"path: '/a\x00' is"),
        ({"path": ["/a", None, "/c"]}, "it has null values"),
        ({"error": ["", "", "x" * 40_000]}, "too long"),
        ({"more": [1, 2, 3]}, "it has the columns"),
    ],
)
def test_rows_of_files_are_checked(folder, columns, message):
    table = {**GOOD, **columns}
    made = {name: pa.array(rows, stored._COLUMNS.get(name)) for name, rows in table.items()}
    pq.write_table(pa.table(made), folder / "bad")
    replace(folder, "files.parquet", (folder / "bad").read_bytes())
    assert message in refused(folder)


def test_a_table_that_unpacks_to_much_is_refused(folder, monkeypatch):
    monkeypatch.setattr(stored, "MOST_PARQUET", 5_000)
    columns = {**GOOD, "error": ["", "", "x" * 30_000]}
    made = {name: pa.array(rows, stored._COLUMNS[name]) for name, rows in columns.items()}
    pq.write_table(pa.table(made), folder / "bad", compression="zstd")
    replace(folder, "files.parquet", (folder / "bad").read_bytes())
    assert "at most 5,000 are read" in refused(folder)


def test_links_to_devices_and_missing_files_are_refused(folder):
    (folder / "features.safetensors").unlink()
    with pytest.raises(PromptError, match="it has no features.safetensors"):
        stored.read(folder)
    (folder / "features.safetensors").symlink_to("/dev/zero")
    assert "it is not a regular file" in refused(folder)


@settings(max_examples=60)
@given(st.sampled_from(["files.parquet", "features.safetensors"]), st.data())
def test_any_bytes_are_read_or_refused(sound, name, data):
    content = bytearray((sound / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    folder = sound.with_name("changed")
    shutil.copytree(sound, folder, dirs_exist_ok=True)
    replace(folder, name, bytes(content))
    try:
        stored.read(folder)
    except PromptError:
        return

"""Lists are read with bounded memory, however large or endless their files are."""

import dataclasses
import json
import os
import pickle
import tracemalloc

import pytest

from data_pipelines.errors import DataError
from data_pipelines.layouts import layout, msvd, plain_pickle
from data_pipelines.layouts.captioned import LONGEST, Caption, Listed, captioned_videos
from data_pipelines.layouts.csv_rows import read_rows
from data_pipelines.layouts.layout import read_json, read_lines, read_text


def test_a_text_that_a_pickle_repeats_counts_each_time(tmp_path):
    file = tmp_path / "raw-captions.pkl"
    file.write_bytes(pickle.dumps({"a": [["word" * 250_000] * 20_000]}, 4))
    assert file.stat().st_size < 2**21
    tracemalloc.start()
    with pytest.raises(DataError, match="uses its texts again for more than 67,108,864 character"):
        msvd._read_words(file)
    assert tracemalloc.get_traced_memory()[1] < 2**26
    tracemalloc.stop()


@pytest.mark.parametrize("instruction", [b"]", b"(", b"}", b"]\x94"])
def test_the_number_of_pickle_opcodes_is_bounded(tmp_path, monkeypatch, instruction):
    monkeypatch.setattr(plain_pickle, "_MOST_INSTRUCTIONS", 1000)
    (tmp_path / "a.pkl").write_bytes(b"\x80\x04" + instruction * 1000 + b".")
    with pytest.raises(DataError, match="its pickle has more than 1,000 instructions"):
        plain_pickle.read_pickle(tmp_path / "a.pkl", "file of captions")


def sparse(path, size):
    with path.open("wb") as file:
        file.truncate(size)


@pytest.mark.parametrize(
    "read",
    [
        lambda path: read_lines(path, "list"),
        lambda path: read_json(path, "list"),
        lambda path: plain_pickle.read_pickle(path, "list"),
        lambda path: read_rows(path, ("path",), ()),
    ],
)
def test_endless_and_special_files_are_not_read(tmp_path, read):
    large = tmp_path / "large"
    sparse(large, 2**33)
    with pytest.raises(DataError, match=r"cannot read the .*large: it has 8,589,934,592 bytes"):
        read(large)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name in ("pipe", "zero"):
        with pytest.raises(DataError, match=f"cannot read the .*{name}: it is not a regular file"):
            read(tmp_path / name)


@pytest.mark.parametrize("line_break", ["\n", "\r", "\r\n", "\v", "\x1c"])
def test_the_numbers_of_lines_and_json_parts_are_bounded(tmp_path, monkeypatch, line_break):
    monkeypatch.setattr(layout, "MOST_LINES", 100)
    monkeypatch.setattr(layout, "_MOST_PARTS", 100)
    file = tmp_path / "list"
    file.write_text(line_break * 101, newline="")
    with pytest.raises(DataError, match="it has more than 100 lines"):
        read_text(file, "list")
    file.write_text(json.dumps([[]] * 60))
    with pytest.raises(DataError, match="it has more than 100 brackets and commas"):
        read_json(file, "list")
    file.write_text(json.dumps([[]] * 40))
    assert read_json(file, "list") == [[]] * 40


def test_the_number_of_columns_is_bounded(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("path," + ",".join(f"c{number}" for number in range(100_000)) + "\n")
    with pytest.raises(DataError, match="names 100,001 columns; the limit is 256"):
        read_rows(file, ("path",), ())
    file.write_text('path\n"' + "x" * 200_000 + '"\n')
    with pytest.raises(DataError, match="line 2: not valid CSV: field larger than field limit"):
        read_rows(file, ("path",), ())


def test_the_length_of_a_caption_is_bounded(tmp_path):
    lists = {"test": [Listed("a", "x")]}
    for texts, joined in (("x" * (LONGEST + 1),), False), (("y " * (LONGEST // 2), "z"), True):
        captions = [Caption("a", text, "b.json, line 1") for text in texts]
        kind = dataclasses.replace(msvd.MSVD, joined=joined)
        with pytest.raises(DataError, match="has a caption of 100,001 characters; the limit is"):
            captioned_videos("msvd", "{}", tmp_path, lists, captions, kind, "x")

"""The command `python -m prompt_jax.search`."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
import tiny
from PIL import Image

import prompt_jax as pj
from prompt_jax import search
from prompt_jax.errors import DataError, PromptError
from prompt_jax.indexing import sheet
from prompt_jax.indexing.index import Hit
from prompt_jax.storage import user_cache


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return str(tiny.save_clip(tmp_path_factory.mktemp("clip")))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("files")
    frames = [Image.new("RGB", (40, 30), color) for color in ("red", "green", "blue")]
    frames[0].save(root / "moving.gif", save_all=True, append_images=frames[1:])
    for name, color in (("red.png", "red"), ("blue\x1b[31m.png", "blue")):
        Image.new("RGB", (40, 48), color).save(root / name)
    (root / "broken.jpg").write_bytes(b"\xff\xd8 nothing")
    (root / "notes.txt").write_text("no image")
    return root


def test_a_table_a_sheet_and_features(clip, folder, tmp_path, capsys):
    picture, stem = tmp_path / "found.png", tmp_path / "out/all"
    written = ("--sheet", str(picture), "--embeddings", str(stem))
    kept = ("--index", str(tmp_path / "index"))
    assert search.start([clip, "a red thing", str(folder), "--top-k", "3", *written, *kept]) == 1
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert [line.split()[0] for line in lines] == ["1", "2", "3"]
    assert sum(f"{folder}/blue\\x1b[31m.png" in line for line in lines) == 1 and "\x1b" not in out
    assert f"3 files, 3 of them encoded now, 0 gone; kept in {tmp_path}/index" in err
    assert "left out: 1 file (1 .txt), by their suffix" in err
    assert f"{folder}/broken.jpg: " in err and "1 could not be read" in err
    assert np.load(f"{stem}.npy").shape == (3, 16)
    with Image.open(picture) as drawn:
        assert drawn.size[0] > 1000
        # The tile of red.png is red.
        place = next(n for n, line in enumerate(lines) if line.endswith("red.png"))
        red, green, _ = drawn.convert("RGB").getpixel((8 + 248 * place + 120, 36 + 90))
        assert red > 200 and green < 60


def test_json_lines_and_the_cache_of_the_user(clip, folder, capsys):
    arguments = [clip, "a red thing", str(folder), "--format", "jsonl"]
    assert search.start(arguments) == 1
    first, err = capsys.readouterr()
    assert str(user_cache.find("indexes")) in err and "3 of them encoded now" in err
    assert search.start(arguments) == 1
    again, err = capsys.readouterr()
    assert again == first and "0 of them encoded now" in err
    rows = [json.loads(line) for line in first.splitlines()]
    assert [row["rank"] for row in rows] == [1, 2, 3, None]
    assert {row["kind"] for row in rows[:3]} == {"image", "video"}
    assert rows[3]["path"].endswith("broken.jpg") and rows[3]["error"]
    assert all(row["query"] == "a red thing" for row in rows)
    assert set(rows[0]) == set(rows[3])


def test_wrong_arguments_fail_before_anything_is_encoded(clip, folder, tmp_path):
    (tmp_path / "there.png").write_bytes(b"")
    (tmp_path / "there.npy").write_bytes(b"")
    wrong = [
        ((" ", folder), PromptError, 'TEXT="" is empty'),
        (("a", folder, "--sheet", tmp_path / "there.png"), DataError, "there.png exists already"),
        (("a", folder, "--sheet", "found.txt"), DataError, "a sheet must end in"),
        (("a", folder, "--embeddings", tmp_path / "there"), PromptError, "there.npy exists"),
        (("a " * 100, folder), PromptError, "77"),
    ]
    for arguments, kind, message in wrong:
        with pytest.raises(kind, match=message):
            search.start([clip, *map(str, arguments), "--index", str(tmp_path / "index")])
    assert not (tmp_path / "index").exists()


def test_it_is_said_that_prompts_of_a_classifier_are_not_searched(clip, capsys):
    bare = pj.load(clip)
    search.note_method(bare)
    assert not capsys.readouterr().err
    search.note_method(dataclasses.replace(bare, name="coop", trained={"shots": 1}))
    assert "note: coop classifies and does not encode texts alone" in capsys.readouterr().err


def test_a_file_that_is_gone_is_crossed_out(tmp_path):
    hits = [Hit(1, str(tmp_path / "gone.png"), "image", 0.3), Hit(2, "/gone.mp4", "video", 0.2)]
    sheet.draw(tmp_path / "found.png", "a query\x1b", hits)
    with Image.open(tmp_path / "found.png") as drawn:
        assert drawn.getpixel((8 + 120, 36 + 90)) == (255, 0, 0)


@pytest.mark.slow
def test_the_command_in_a_process(clip, folder):
    done = subprocess.run(
        [sys.executable, "-m", "prompt_jax.search", clip, "red", str(folder / "red.png")],
        capture_output=True,
        text=True,
        cwd=tiny.REPOSITORY,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("red.png\n") and done.stdout.startswith("  1  ")

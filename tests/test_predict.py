"""Predictions on the command line, in processes as a person starts them."""

import csv
import io
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from tiny import REPOSITORY, save_clip

from prompt_jax import predict
from prompt_jax.errors import PromptError


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return save_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "pictures"
    (root / "more").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("a.png", "more/b.jpg", "more/c.webp"):
        Image.fromarray(rng.integers(0, 256, (40, 48, 3), np.uint8)).save(root / name)
    (root / "broken.jpg").write_bytes(b"\xff\xd8 nothing")
    (root / "notes.txt").write_text("no picture")
    return root


def run(*arguments, lines=""):
    return subprocess.run(
        [sys.executable, "-m", "prompt_jax.predict", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        input=lines,
    )


@pytest.mark.slow
def test_a_folder_in_every_format(clip, folder, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("sea horse\npagoda\n\naccordion\n")
    json_lines = run(clip, folder, "--classes", names, "--format", "jsonl", "--top-k", 2)
    assert json_lines.returncode == 1, json_lines.stderr
    assert "1 could not be read" in json_lines.stderr
    rows = [json.loads(line) for line in json_lines.stdout.splitlines()]
    found = [row["picture"].removeprefix(f"{folder}/") for row in rows]
    assert found == ["a.png", "broken.jpg", "more/b.jpg", "more/c.webp"]
    assert [len(row["classes"]) for row in rows] == [2, 0, 2, 2]
    assert "truncated" in rows[1]["error"] or "not a picture" in rows[1]["error"]

    table = run(clip, folder / "a.png", "--classes", "sea horse,pagoda,accordion")
    assert table.returncode == 0
    first, percent = rows[0]["classes"][0], rows[0]["probabilities"][0]
    assert table.stdout.startswith(f"{folder}/a.png: {first} {percent:.1%}, ")

    listed = f"{folder}/more/b.jpg\r\n{folder}/gone.png\r\n"
    arguments = ("-", "--classes", names, "--format", "csv")
    columns = run(clip, *arguments, lines=listed)
    assert columns.returncode == 1
    [one, other] = csv.DictReader(io.StringIO(columns.stdout))
    assert one["class_1"] == rows[2]["classes"][0] and not one["error"] and not one["class_4"]
    assert abs(float(one["probability_1"]) - rows[2]["probabilities"][0]) < 1e-4
    assert other["error"] == "no such file" and not other["class_1"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("a.png",), "there are no classes to choose from"),
        ((".", "--classes", ","), "--classes=, holds no name"),
        (("tests/fixtures/", "--classes", "a,b", "--frames", "2"), "there are no clips in this"),
    ],
)
def test_a_mistake_is_a_sentence(clip, arguments, words):
    done = run(clip, *arguments)
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.startswith("error: ") and words in done.stderr
    assert "Traceback" not in done.stderr


def test_classes_are_names_or_the_lines_of_a_file(tmp_path):
    names = tmp_path / "names.txt"
    names.write_bytes(b"\xef\xbb\xbfsea horse\r\n\r\npagoda\r\n")
    assert predict.read_classes(str(names)) == ["sea horse", "pagoda"]
    assert predict.read_classes("cat, dog,") == ["cat", "dog"]
    assert predict.read_classes(None) is None
    for missing in (tmp_path, tmp_path / "none", "none.txt", "a/b"):
        with pytest.raises(PromptError, match=f"--classes={missing}: no such file"):
            predict.read_classes(str(missing))
    for empty in ("", ",", " "):
        with pytest.raises(PromptError, match="holds no name"):
            predict.read_classes(empty)


def test_paths_on_standard_input(monkeypatch):
    for lines in ("a.jpg\nb c.jpg\n", "a.jpg\r\nb c.jpg\r\n", "a.jpg\0b c.jpg\0"):
        monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
        assert list(predict.find(["-"], clips=False)) == ["a.jpg", "b c.jpg"]
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    with pytest.raises(PromptError, match="standard input lists no paths"):
        list(predict.find(["-"], clips=False))


def test_clips_in_a_folder_are_files_and_folders_of_frames(tmp_path):
    for name in (
        "run/1.mp4",
        "run/notes.txt",
        "jump/2/001.jpg",
        "jump/2/002.jpg",
        "3.AVI",
        ".4.mp4",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [name.removeprefix(f"{tmp_path}/") for name in predict.clips_below(str(tmp_path))]
    assert found == ["3.AVI", "jump/2", "run/1.mp4"]
    assert list(predict.find([str(tmp_path / "run/1.mp4")], clips=True)) == [
        str(tmp_path / "run/1.mp4")
    ]
    with pytest.raises(PromptError, match="there are no pictures in this folder"):
        list(predict.find([str(tmp_path / "run")], clips=False))

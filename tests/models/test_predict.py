"""Predictions on the command line, in real processes."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny import REPOSITORY, save_clip

from data_pipelines.layouts import video_files
from prompt_jax import predict
from prompt_jax.errors import PromptError
from prompt_jax.evaluation.predictions import Prediction
from prompt_jax.inputs import finding
from prompt_jax.inputs.images import files
from prompt_jax.inputs.videos import opening


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return save_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "images"
    (root / "more").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("a.png", "more/b.jpg", "more/c.webp"):
        Image.fromarray(rng.integers(0, 256, (40, 48, 3), np.uint8)).save(root / name)
    (root / "broken.jpg").write_bytes(b"\xff\xd8 nothing")
    (root / "notes.txt").write_text("no image")
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
def test_a_directory_in_every_format(clip, folder, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("sea horse\npagoda\n\naccordion\n")
    json_lines = run(clip, folder, "--classes", names, "--format", "jsonl", "--top-k", 2)
    assert json_lines.returncode == 1, json_lines.stderr
    assert "1 could not be read" in json_lines.stderr
    rows = [json.loads(line) for line in json_lines.stdout.splitlines()]
    found = [row["image"].removeprefix(f"{folder}/") for row in rows]
    assert found == ["a.png", "broken.jpg", "more/b.jpg", "more/c.webp"]
    assert [len(row["classes"]) for row in rows] == [2, 0, 2, 2]
    assert "truncated" in rows[1]["error"] or "not an image" in rows[1]["error"]

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
        (("a.png", "--format", "csv"), "no classes to choose from; pass class names by --classes"),
        (
            ("a.png", "--classes", "a,b", "--backbone", "x"),
            "not a trained model; leave --backbone out",
        ),
        (("", "--classes", "a,b", "--format", "csv"), 'PATH="" is empty'),
        (
            ("a.png", "--classes", "a,\udcff", "--format", "csv"),
            r"class '\udcff' contains half of a",
        ),
        ((".", "--classes", ","), "--classes=, holds no name"),
        (("tests/fixtures/", "--classes", "a,b", "--frames", "2"), "no videos in or below this"),
    ],
)
def test_a_user_error_is_one_line(clip, arguments, words):
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
    for missing in (tmp_path / "none", "none.txt", "a/b"):
        with pytest.raises(PromptError, match=f"--classes={missing}: no such file"):
            predict.read_classes(str(missing))
    for empty in ("", ",", " "):
        with pytest.raises(PromptError, match="holds no name"):
            predict.read_classes(empty)


def test_paths_on_standard_input(monkeypatch):
    for lines in ("a.jpg\nb c.jpg\n", "a.jpg\r\nb c.jpg\r\n", "a.jpg\0b c.jpg\0"):
        monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
        assert list(predict.find(["-"], False, [])) == ["a.jpg", "b c.jpg"]
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    with pytest.raises(PromptError, match="standard input lists no paths"):
        list(predict.find(["-"], False, []))


def test_videos_in_a_directory_are_files_and_directories_of_frames(tmp_path):
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
    found, others = finding.videos_below(str(tmp_path))
    below = [name.removeprefix(f"{tmp_path}/") for name in found]
    assert below == ["3.AVI", "jump/2", "run/1.mp4"]
    assert others == [str(tmp_path / "run/notes.txt")]
    assert list(predict.find([str(tmp_path / "run/1.mp4")], True, [])) == [
        str(tmp_path / "run/1.mp4")
    ]
    message = r"no images in or below this directory \(other files: 1 .mp4, 1 .txt\)"
    with pytest.raises(PromptError, match=message):
        list(predict.find([str(tmp_path / "run")], False, []))


def test_cyclic_links_end(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/1.mp4").touch()
    (tmp_path / "run/again").symlink_to(tmp_path)
    assert finding.videos_below(str(tmp_path)) == ([str(tmp_path / "run/1.mp4")], [])


def test_both_packages_have_the_same_suffixes(torch):
    assert video_files.SUFFIXES is opening.SUFFIXES
    from prompt_jax.export.torch_parts import frames

    # Exported models import nothing of this package.
    assert frames._SUFFIXES == files.SUFFIXES
    assert {".jfif", ".jpe"} <= set(files.SUFFIXES)
    assert {".3g2", ".m2ts", ".mts"} <= set(opening.SUFFIXES)


@pytest.mark.slow
def test_other_files_in_a_directory_are_counted(clip, tmp_path):
    image = Image.fromarray(np.zeros((40, 48, 3), np.uint8))
    image.save(tmp_path / "a.jpg")
    for name in ("b.jfif", "c.psd", "d", "e.jpe", "n.txt", os.fsdecode(b"caf\xe9.JPG")):
        shutil.copy(tmp_path / "a.jpg", tmp_path / name)
    done = run(clip, tmp_path, "--classes", "sea horse,pagoda", "--format", "csv")
    assert done.returncode == 0, done.stderr
    found = [row["image"] for row in csv.DictReader(io.StringIO(done.stdout))]
    names = [name.removeprefix(f"{tmp_path}/") for name in found]
    assert names == ["a.jpg", "b.jfif", r"caf\udce9.JPG", "e.jpe"]
    left = "left out: 3 files (1 .psd, 1 no suffix, 1 .txt), not images by their suffix"
    assert left in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii:strict", "utf-8:strict"])
def test_unicode_paths_and_names_in_a_strict_locale(clip, tmp_path, encoding):
    path = tmp_path / os.fsdecode(b"\xe9 caf\xc3\xa9.png")
    Image.fromarray(np.zeros((40, 48, 3), np.uint8)).save(path)
    done = subprocess.run(
        [sys.executable, "-m", "prompt_jax.predict", clip, "-", "--classes", "café"],
        capture_output=True,
        cwd=REPOSITORY,
        input=os.fsencode(path) + b"\n",
        env=os.environ | {"PYTHONIOENCODING": encoding},
    )
    assert done.returncode == 0, done.stderr
    [line] = done.stdout.decode().splitlines()
    shown = r"\xe9" if encoding.startswith("ascii") else "é"
    assert line.startswith(f"{tmp_path}/\\udce9 caf{shown}.png: caf{shown} ") and "%" not in line
    assert "note: 'café' is the only class" in done.stderr.decode().replace(r"\xe9", "é")


ODD = ["=1+1", "a\nb", "\x1b[2J", '"', ",", "\u202e", "\udcff", "[red]x[/]", "a|b"]
ANY = st.text(max_size=8) | st.sampled_from(ODD)


@settings(deadline=None, derandomize=True, database=None)
@given(ANY, ANY, ANY, st.booleans())
def test_any_name_is_one_row_without_control_characters(image, name, error, is_read):
    classes = (name or "a", "b") if is_read else ()
    shares = (0.75, 0.25) if is_read else ()
    one = Prediction(image, classes, shares, error="" if is_read else error or "no file")
    for words, writer in predict.WRITERS.items():
        file = io.StringIO()
        writer(file, 2)(one)
        text = file.getvalue()
        assert all(c.isprintable() or c in "\n\u200c\u200d" for c in text), (words, text)
        lines = text.split("\n")
        assert len(lines) == (3 if words == "csv" else 2) and not lines[-1]
        if words == "csv":
            assert [len(row) for row in csv.reader(io.StringIO(text))] == [8, 8]
        if words == "jsonl":
            back = json.loads(text)
            assert back["image"] == image and tuple(back["classes"]) == classes


def test_class_names_longer_than_any_path_are_names():
    names = [f"class number {n}" for n in range(400)]
    assert predict.read_classes(",".join(names)) == names
    assert predict.read_classes("x" * 5000) == ["x" * 5000]
    assert predict.read_classes("nul\0,b") == ["nul\0", "b"]


def test_a_file_of_names_is_regular_and_of_limited_size(tmp_path, monkeypatch):
    monkeypatch.setattr(predict, "MOST_NAMES", 10)
    (tmp_path / "long.txt").write_text("a name\nanother\n")
    with pytest.raises(PromptError, match="cannot be read as text .*at most 10 are read"):
        predict.read_classes(str(tmp_path / "long.txt"))
    os.mkfifo(tmp_path / "pipe")
    there = {"pipe": "a named pipe", "": "a directory", "/dev/null": "a device"}
    for path, kind in there.items():
        with pytest.raises(PromptError, match=f" is {kind}; pass a,b,c or a file"):
            predict.read_classes(os.path.join(tmp_path, path))


@pytest.mark.parametrize("flag", ["--batch-size=0", "--batch-size=-1", "--top-k=0", "--frames=-1"])
def test_numbers_below_one_are_rejected(capsys, flag):
    with pytest.raises(SystemExit, match="2"):
        predict.start(["no-model", "a.png", "--format=csv", flag])
    output = capsys.readouterr()
    assert not output.out and f"argument {flag.split('=')[0]}: " in output.err

"""Contact sheets of examples, and near-duplicates."""

import shutil
import sys

import numpy as np
import pytest
from PIL import Image
from test_check import command
from test_overview import save_folders
from video_files import write

from data_pipelines import check, datasets
from data_pipelines.checks import near_copies, sheet


def save_scene(path, seed, side=64):
    """Writes a smooth image that depends on the seed."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (6, 6, 3), np.uint8))
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse.resize((96, 96), Image.Resampling.BICUBIC).resize((side, side)).save(path)


@pytest.fixture
def scenes(tmp_path):
    """Writes two classes of different images."""
    for number in range(12):
        split = "train" if number < 8 else "test"
        save_scene(tmp_path / split / "ab"[number % 2] / f"{number}.png", number)
    return tmp_path


def test_a_scaled_or_compressed_image_in_another_split_is_noted(scenes, capsys):
    arguments = "--root", scenes, "--names", "folder"
    assert "look like" not in command(capsys, *arguments)[1]
    save_scene(scenes / "test/a/scaled.jpg", 2, side=48)
    save_scene(scenes / "test/b/within.png", 9, side=80)  # like another image of its own split
    code, out, _ = command(capsys, *arguments)
    assert code == 0 and "note: images that look like one of another split" in out
    assert "may be the same scene: 1\n" in out
    assert "note: test/a/scaled.jpg looks like train/a/2.png (" in out
    assert "note: images that look like another one of their split: 1\n" in out
    assert "note: test/b/within.png looks like test/b/9.png (" in out
    assert "look like" not in command(capsys, *arguments, "--quick")[1]
    # An exact copy is reported as a problem instead; images of one color have no meaningful hash.
    shutil.copy(scenes / "train/b/1.png", scenes / "test/b/copy.png")
    for split in ("train", "test"):
        Image.new("RGB", (20, 20), split.replace("train", "red").replace("test", "blue")).save(
            scenes / f"{split}/a/flat.png"
        )
    code, out, _ = command(capsys, *arguments)
    assert code == 1 and "images copied from another split: 1" in out
    assert "may be the same scene: 1\n" in out


def test_a_video_in_another_split_is_noted_if_all_its_frames_look_alike(tmp_path, capsys):
    for number, (split, name) in enumerate((s, n) for s in ("train", "test") for n in "ab"):
        for frame in range(8):
            save_scene(tmp_path / split / name / "clip" / f"{frame}.png", 10 * number + frame)
    arguments = "--root", tmp_path, "--names", "clip_folder"
    assert "look like" not in command(capsys, *arguments)[1]
    for frame in range(16):  # the first training video at half its speed and size
        save_scene(tmp_path / "test/a/slow" / f"{frame}.png", frame // 2, side=48)
        # The same, but with another end.
        save_scene(tmp_path / "test/a/other" / f"{frame}.png", frame // 2 + 50 * (frame > 11))
    out = command(capsys, *arguments)[1]
    assert "note: videos that look like one of another split, and may be the same scene: 1" in out
    assert "note: test/a/slow looks like train/a/clip (" in out


def test_the_nearest_hash_equals_a_brute_force_search():
    rng = np.random.default_rng(0)
    hashes, others = (rng.integers(0, 2**64, n, np.uint64) for n in (600, 70))
    places, bits = near_copies._nearest(hashes[:, None], others[:, None])
    for one in (0, 511, 512, 599):
        distances = [(int(hashes[one]) ^ int(other)).bit_count() for other in others]
        assert bits[one] == min(distances) == distances[places[one]]
    places, bits = near_copies._nearest(hashes[:, None], hashes[:, None], earlier=True)
    assert bits[0] == 255 and all(place < one for one, place in enumerate(places) if one)
    assert bits[520] == min((int(hashes[520]) ^ int(one)).bit_count() for one in hashes[:520])


def test_without_the_package_the_check_names_the_command_that_installs_it(scenes, monkeypatch):
    monkeypatch.setitem(sys.modules, "imagehash", None)
    finding = check.check("folder", scenes)
    assert not finding.problems
    [note] = finding.notes
    assert "were not checked" in note and ".venv/bin/pip install -e '.[check]'" in note


def test_a_sheet_has_a_row_for_each_class(scenes, capsys):
    (scenes / "train/a/broken.png").write_text("no image")
    Image.new("RGB", (30, 10), "red").save(scenes / "train/b/0.png")
    file = scenes / "out.png"
    arguments = ("--root", scenes, "--names", "folder", "--quick", "--sheet", file)
    code, out, _ = command(capsys, *arguments)
    assert code == 0 and f"examples of the classes are in {file}" in out
    with Image.open(file) as drawn:
        assert drawn.size == (240 + 8 * 100, 2 * 100 + 4)
        assert drawn.getpixel((240 + 48, 4 + 100 + 48)) == (255, 0, 0)
        crossed = drawn.crop((240 + 4 * 100, 4, 240 + 4 * 100 + 96, 100))
        assert (211, 211, 211) in {colour for _, colour in crossed.getcolors()}
    code, _, err = command(capsys, *arguments)
    assert code == 2 and f"{file} exists already; remove it, or pass another file" in err


def test_many_classes_have_several_pages_and_long_names_are_truncated(tmp_path):
    classes = dict.fromkeys([f"class {i:02}" for i in range(41)] + ["z\x07é" * 40], 1)
    dataset = datasets.load("folder", save_folders(tmp_path, train=classes))
    (tmp_path / "s-2.png").write_text("")
    with pytest.raises(datasets.DataError, match=r"s-2\.png exists already"):
        sheet.draw(tmp_path / "s.png", dataset)
    files = sheet.draw(tmp_path / "t.png", dataset)
    assert [file.name for file in files] == ["t.png", "t-2.png"]
    for file, rows in zip(files, (40, 2), strict=True):
        with Image.open(file) as drawn:
            assert drawn.height == rows * 100 + 4


def test_videos_show_their_middle_frames(tmp_path):
    for split in ("train", "test"):
        for name in "ab":
            write(tmp_path / split / name / "1.mp4", count=5)
    dataset = datasets.load("clip_folder", tmp_path)
    [file] = sheet.draw(tmp_path / "s.png", dataset)
    [middle] = dataset.read(dataset.train[0]).frames([2])
    with Image.open(file) as drawn:
        assert drawn.getpixel((240 + 48, 4 + 48)) == middle.getpixel((9, 9))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--names", "folder", "--sheet", "a.txt"), "a.txt is not an image file; a sheet must end"),
        (("--sheet", "a.png"), "needs exactly one data set in --names"),
        (("--names", "folder,csv", "--sheet", "a.png"), "needs exactly one data set"),
    ],
)
def test_invalid_sheets_are_rejected_before_anything_is_read(tmp_path, capsys, arguments, message):
    code, out, err = command(capsys, "--root", tmp_path, *arguments)
    assert code == 2 and message in err and not out


def test_own_data_is_checked_as_it_will_be_read(tmp_path, capsys):
    save_folders(tmp_path, train={"a": 2, "b": 2, "to sort": 1}, test={"a": 1, "b": 1})
    arguments = "--root", tmp_path, "--names", "folder", "--quick"
    assert "to sort" in command(capsys, *arguments)[1]
    code, out, _ = command(capsys, *arguments, "--leave-out", "to sort")
    assert code == 0 and "left out as asked (leave_out): to sort" in out
    out = command(capsys, *arguments, "--columns", "path=x")[1]
    assert "unknown option of the data set folder: 'columns'" in out

"""The report of `check` on a directory of data sets."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from video_files import write

from data_pipelines import check, datasets, throughput, torch_side
from data_pipelines.catalog.table import TABLE
from data_pipelines.errors import DataError
from experiments.config.config import read
from experiments.configs import default
from experiments.setup import plans

SPLIT = "split_zhou_DescribableTextures.json"
COUNTS = {"train": 3, "val": 1, "test": 2}


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Returns a complete "dtd" with two classes and six images, and publishes these counts."""
    (tmp_path / "dtd/images").mkdir(parents=True)
    split = {name: [] for name in COUNTS}
    for name, count in COUNTS.items():
        for i in range(count):
            label = i % 2
            Image.new("RGB", (9, 8)).save(tmp_path / f"dtd/images/{name}{i}.jpg")
            split[name].append([f"{name}{i}.jpg", label, ["banded", "dotted"][label]])
    (tmp_path / "dtd" / SPLIT).write_text(json.dumps(split))
    monkeypatch.setitem(TABLE, "dtd", published(2, tuple(COUNTS.values())))
    return tmp_path


def published(num_classes, counts):
    return datasets.Entry(
        "DTD",
        "{} texture.",
        TABLE["dtd"].layout,
        num_classes=num_classes,
        counts=counts,
        url="https://example.org/dtd",
    )


def command(capsys, *arguments):
    """Returns exit code, report and errors of the command."""
    try:
        code = check.main([str(argument) for argument in arguments])
    except SystemExit as stopped:
        code = stopped.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_complete_data_set_passes_if_others_are_missing(root, capsys):
    code, out, err = command(capsys, "--root", root)
    assert code == 0
    assert "complete" in out and "3 =" in out
    assert "6/6" in err
    url = TABLE["imagenet"].url
    assert f"imagenet: download it from {url}" in out
    assert "emoji_scenes" not in out and "csv" not in out


def test_all_named_data_sets_must_exist(root, capsys):
    assert command(capsys, "--root", root, "--names", "dtd")[0] == 0
    code, out, _ = command(capsys, "--root", root, "--names", "dtd,eurosat")
    assert code == 1 and "eurosat" in out and "caltech101" not in out


def test_an_empty_directory_fails(tmp_path, capsys):
    code, out, _ = command(capsys, "--root", tmp_path)
    assert code == 1 and "complete" not in out


def test_bad_and_missing_images_are_listed(root, capsys):
    (root / "dtd/images/test0.jpg").write_text("no image")
    (root / "dtd/images/val0.jpg").unlink()
    code, out, _ = command(capsys, "--root", root)
    assert code == 1 and "2 problems" in out
    assert "missing: val0.jpg" in out
    assert f"cannot be read: {root / 'dtd/images/test0.jpg'}: not an image" in out

    code, out, _ = command(capsys, "--root", root, "--quick")
    assert code == 1 and "missing: val0.jpg" in out and "cannot be read" not in out
    (root / "dtd/images/val0.jpg").touch()
    assert command(capsys, "--root", root, "--quick")[0] == 0


def test_counts_that_differ_from_the_published_ones_are_shown(root, monkeypatch, capsys):
    monkeypatch.setitem(TABLE, "dtd", published(3, (5, 1, 2)))
    code, out, _ = command(capsys, "--root", root, "--names", "dtd")
    assert code == 1
    assert "train: 3 images; published: 5" in out and "2 classes; published: 3" in out
    assert "3 / 5" in out and "val:" not in out


def test_a_split_without_images_is_missing(root, capsys):
    split = json.loads((root / "dtd" / SPLIT).read_text())
    (root / "dtd" / SPLIT).write_text(json.dumps(split | {"train": []}))
    code, out, _ = command(capsys, "--root", root, "--names", "dtd")
    assert code == 1
    assert "train missing: 0 of 3 images; download it from https://example.org/dtd" in out


def test_a_malformed_split_file_is_a_finding(root, capsys):
    (root / "dtd" / SPLIT).write_text("{")
    code, out, _ = command(capsys, "--root", root)
    assert code == 1 and "1 problem" in out and "cannot read the split file" in out
    (root / "dtd" / SPLIT).unlink()
    code, out, _ = command(capsys, "--root", root)
    assert code == 1 and "dtd: no " in out


def write_csv(folder, *rows):
    """Writes own images, each of another color, and a CSV file."""
    for i, row in enumerate(rows):
        path = folder / row.split(",")[0]
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (5, 5), (i, 0, 0)).save(path)
    (folder / "list.csv").write_text("\n".join(["path,label,split", *rows]))
    return folder


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        (["./a.png,cat,test"], "images listed more than once: 1, e.g. a.png (train, test)"),
        (["b.png,dog,train"], "images listed more than once: 1, e.g. b.png (train, train)"),
        (["e.png,cow,test"], "classes of test without train images: 1, e.g. 'cow'"),
        (["e.png,cow,train"], "classes of train without test images: 1, e.g. 'cow'"),
        (
            ["e.png,Cat,train", "f.png,Cat,test"],
            "labels 0 and 1, 'Cat' and 'cat', make the same prompt",
        ),
    ],
)
def test_problems_of_the_lists_are_found(tmp_path, capsys, rows, problem):
    good = ["a.png,cat,train", "b.png,dog,train", "c.png,cat,test", "d.png,dog,test"]
    arguments = "--root", write_csv(tmp_path, *good), "--names", "csv"
    assert command(capsys, *arguments)[0] == 0
    write_csv(tmp_path, *good, *rows)
    code, out, _ = command(capsys, *arguments)
    assert code == 1 and "1 problem" in out and problem in out


def test_a_single_class_is_a_problem(tmp_path, capsys):
    write_csv(tmp_path, "a.png,cat,train", "b.png,cat,test")
    code, out, _ = command(capsys, "--root", tmp_path, "--names", "csv")
    assert code == 1 and "csv: only one class, 'cat', so every prediction is correct" in out


def test_a_note_is_printed_and_does_not_fail_the_check(tmp_path, capsys):
    for number, folder in enumerate(("train/cat/tabby", "train/dog", "test/cat", "test/dog")):
        (tmp_path / folder).mkdir(parents=True)
        Image.new("RGB", (5, 5), (number, 0, 0)).save(tmp_path / folder / "a.png")
    code, out, _ = command(capsys, "--root", tmp_path, "--names", "folder")
    assert code == 0 and "complete" in out
    assert "note: train/cat contains the directory tabby: their images count as 'cat'. If" in out


def test_own_images_without_a_test_split_are_a_problem(tmp_path, capsys):
    write_csv(tmp_path, "a.png,cat,train", "b.png,dog,train")
    code, out, _ = command(capsys, "--root", tmp_path, "--names", "csv")
    assert code == 1 and "no test images, but 2 for training" in out


def test_a_copy_in_another_split_is_found_if_images_are_read(tmp_path, capsys):
    for number, folder in enumerate(("train/cat", "train/dog", "test/cat", "test/dog")):
        (tmp_path / folder).mkdir(parents=True)
        name = folder.split("/")[0]
        Image.new("RGB", (5, 5), (number, 0, 0)).save(tmp_path / folder / f"{name}.png")
    arguments = "--root", tmp_path, "--names", "folder"
    assert command(capsys, *arguments)[0] == 0
    copy = tmp_path / "test/cat/copy.png"
    copy.write_bytes((tmp_path / "train/cat/train.png").read_bytes())
    code, out, _ = command(capsys, *arguments)
    assert code == 1 and "images copied from another split: 1, e.g. test" in out
    assert "e.g. test/cat/copy.png (same as train/cat/train.png)" in out
    assert command(capsys, *arguments, "--quick")[0] == 0


def test_a_split_other_than_the_published_one_is_found(root, monkeypatch, capsys):
    path = root / "dtd" / SPLIT
    split = json.loads(path.read_text())
    # sha256 of {"test":[["test0.jpg",0,"banded"],["test1.jpg",1,"dotted"]],"train":[…],"val":[…]}
    sha256 = "a960e03de1832ae0bc56191f20090d517383dfe36bea85e489cdb209f8f5b696"
    monkeypatch.setitem(TABLE, "dtd", replace(TABLE["dtd"], split_sha256=sha256))
    path.write_text(json.dumps(dict(reversed(split.items())), indent=2))
    assert command(capsys, "--root", root, "--names", "dtd")[0] == 0
    split["train"].reverse()
    path.write_text(json.dumps(split))
    code, out, _ = command(capsys, "--root", root, "--names", "dtd")
    assert code == 1 and "1 problem" in out and f"{SPLIT} differs from the published split" in out


@pytest.mark.slow
def test_the_published_splits_have_their_hashes_and_no_problems(shared, tmp_path):
    names = [name for name, entry in TABLE.items() if entry.split_sha256]
    assert len(names) == 7
    for name in names:
        layout = TABLE[name].layout
        (tmp_path / layout.folder / layout.images).mkdir(parents=True)
        content = (shared / "data/splits" / layout.split).read_bytes()
        (tmp_path / layout.folder / layout.split).write_bytes(content)
        problems = check.check(name, tmp_path, quick=True).problems
        assert all(problem.startswith("missing: ") for problem in problems)


def test_user_errors_are_one_line(root, capsys):
    for arguments, message in [
        (("--root", root, "--names", "dtdd"), "unknown data set 'dtdd'. Did you mean 'dtd'?"),
        (("--root", root, "--names", ","), "--names is empty"),
        (("--root", root / "gone"), "no such directory"),
        (("--root", root, "--source", "web"), "invalid choice"),
        ((), "--root"),
    ]:
        code, out, err = command(capsys, *arguments)
        assert code == 2 and message in err and not out


def test_real_images_are_a_readable_subset(shared):
    finding = check.check("dtd", shared / "data")
    assert finding.found and finding.dataset is not None
    assert not [p for p in finding.problems if p.startswith(("missing", "cannot"))]
    assert sum("differs from the published split" in p for p in finding.problems) == 1


def test_the_throughput_baseline_does_the_same_work(tmp_path, capsys):
    pytest.importorskip("torch")
    dataset = throughput.photos(tmp_path, 3)
    images = torch_side.TorchImages([tmp_path / "0.jpg"], [7], 16)
    image, label = images[0]
    assert image.shape == (3, 16, 16) and label == 7 and -3 < float(image.min()) < 0
    ways = throughput.loaders(dataset, 2, 16, 1)
    ours = {name: start for name, start in ways.items() if "threads" in name}
    rates = throughput.compare(ours, 2, seconds=0.05, rounds=2, warm_up=1)
    assert all(rate > 0 for both in rates.values() for rate in both)
    console = Console(width=100)
    console.print(throughput.table("a title", rates))
    assert "1.00 (1.00 to 1.00)" in capsys.readouterr().out


def test_the_throughput_baseline_of_videos_does_the_same_work(tmp_path, capsys):
    pytest.importorskip("torch")
    for number in range(2):
        write(tmp_path / f"deeper/{number}.mp4", count=20)
    (tmp_path / "broken.avi").write_text("no video")
    dataset = throughput.videos_below(tmp_path, 9)
    assert len(dataset.train) == 2 and "skipped: " in capsys.readouterr().err
    paths = [tmp_path / example.image for example in dataset.train]
    theirs = torch_side.TorchVideos(paths, [0, 0], 4, 16, torch_side.read_with_pyav)
    assert theirs[0][0].shape == (4, 3, 16, 16)
    expected = list(dataset.read(dataset.train[0]).frames([2, 7, 12, 17]))
    for frame, other in zip(torch_side.read_with_pyav(paths[0], 4), expected, strict=True):
        np.testing.assert_array_equal(np.asarray(frame), np.asarray(other))
    ways = throughput.loaders(dataset, 2, 16, 1, frames=4)
    ours = {name: start for name, start in ways.items() if "threads" in name}
    rates = throughput.compare(ours, 2, seconds=0.05, rounds=1, warm_up=1)
    assert list(ours)[1] == "ours, 1 threads, videos decoded before"
    assert all(rate > 0 for both in rates.values() for rate in both)
    with pytest.raises(DataError, match="no videos below .*gone: no files ending in .mp4"):
        throughput.videos_below(tmp_path / "gone", 9)


def test_throughput_rejects_invalid_settings_and_data(tmp_path, capsys):
    pytest.importorskip("torch")
    with pytest.raises(SystemExit):
        throughput.main(["--batch", "0"])
    assert "--batch=0: must be above 0" in capsys.readouterr().err
    assert throughput.main(["--root", str(tmp_path), "--name", "dtd"]) == 1
    assert "dtd: no" in capsys.readouterr().err


def test_file_names_are_escaped_on_the_terminal(tmp_path, capsys):
    odd = "\x1b[2J\nred\u202e"
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            folder = tmp_path / f"[bold]{odd}" / split / name
            folder.mkdir(parents=True)
            (folder / f"{split}{odd}.jpg").write_bytes(b"no image")
            (folder / f"{odd}.psd").touch()
    code = check.main(["--root", str(tmp_path / f"[bold]{odd}"), "--names", "folder"])
    out = capsys.readouterr().out
    assert code == 1 and "[bold]\\x1b[2J\\nred\\u202e" in out
    assert "train\\x1b[2J\\nred\\u202e.jpg: not an image" in out
    assert all(line.isprintable() for line in out.split("\n"))
    config = default.get_config("coop")
    config.data.name, config.data.root = "folder", str(tmp_path / f"[bold]{odd}")
    config.protocol = "few_shot"
    with pytest.raises(DataError) as error:
        plans.check_images(plans.build(read(config), 32, False))
    lines = str(error.value).split("\n")
    assert all(line.isprintable() for line in lines)
    assert len(lines) == 1 + 4 + 1  # the heading, a line for each file, and the advice


@pytest.mark.parametrize(
    ("labels", "kind"), [("0 1", "numbers"), ("n01440764 n01443537", "WordNet ids")]
)
def test_meaningless_names_are_noted(tmp_path, capsys, labels, kind):
    one, other = labels.split()
    rows = [f"{i}.png,{one if i % 2 else other},{'train' if i < 2 else 'test'}" for i in range(4)]
    code, out, _ = command(capsys, "--root", write_csv(tmp_path, *rows), "--names", "csv")
    assert code == 0
    reported = (
        f"note: all class names are {kind}, which mean nothing to the text tower: prompts read "
    )
    assert f"{reported}'a photo of a {other}.'; give each class a descriptive name" in out
    assert f'note: list.csv has no column "name", so its labels, which are {kind}' in out

"""The report on a folder of data sets: what is there, complete and readable."""

import json

import pytest
from PIL import Image
from rich.console import Console

from data_pipelines import check, datasets, throughput
from data_pipelines.table import TABLE

SPLIT = "split_zhou_DescribableTextures.json"
COUNTS = {"train": 3, "val": 1, "test": 2}


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A complete "dtd" as if two classes and six pictures had been published."""
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
    """Exit code, report and errors of the command."""
    try:
        code = check.main([str(argument) for argument in arguments])
    except SystemExit as stopped:
        code = stopped.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_complete_data_set_passes_though_others_are_not_there(root, capsys):
    code, out, err = command(capsys, "--root", root)
    assert code == 0
    assert "complete" in out and "3 =" in out
    assert "6/6" in err
    url = TABLE["imagenet"].url
    assert f"imagenet: get it from {url}" in out
    assert "emoji_scenes" not in out and "csv" not in out


def test_named_data_sets_must_all_be_there(root, capsys):
    assert command(capsys, "--root", root, "--names", "dtd")[0] == 0
    code, out, _ = command(capsys, "--root", root, "--names", "dtd,eurosat")
    assert code == 1 and "eurosat" in out and "caltech101" not in out


def test_an_empty_folder_fails(tmp_path, capsys):
    code, out, _ = command(capsys, "--root", tmp_path)
    assert code == 1 and "complete" not in out


def test_bad_and_missing_pictures_are_listed(root, capsys):
    (root / "dtd/images/test0.jpg").write_text("no picture")
    (root / "dtd/images/val0.jpg").unlink()
    code, out, _ = command(capsys, "--root", root)
    assert code == 1 and "2 problems" in out
    assert "missing: val0.jpg" in out
    assert f"cannot be read: {root / 'dtd/images/test0.jpg'}: not a picture" in out

    code, out, _ = command(capsys, "--root", root, "--quick")
    assert code == 1 and "missing: val0.jpg" in out and "cannot be read" not in out
    (root / "dtd/images/val0.jpg").touch()
    assert command(capsys, "--root", root, "--quick")[0] == 0


def test_other_counts_than_the_published_are_shown(root, monkeypatch, capsys):
    monkeypatch.setitem(TABLE, "dtd", published(3, (5, 1, 2)))
    code, out, _ = command(capsys, "--root", root, "--names", "dtd")
    assert code == 1
    assert "train: 3 pictures; published: 5" in out and "2 classes; published: 3" in out
    assert "3 / 5" in out and "val:" not in out


def test_a_split_without_pictures_is_missing(root, capsys):
    split = json.loads((root / "dtd" / SPLIT).read_text())
    (root / "dtd" / SPLIT).write_text(json.dumps(split | {"train": []}))
    code, out, _ = command(capsys, "--root", root, "--names", "dtd")
    assert code == 1
    assert "train missing: 0 of 3 pictures; get it from https://example.org/dtd" in out


def test_a_broken_split_file_is_a_finding(root, capsys):
    (root / "dtd" / SPLIT).write_text("{")
    code, out, _ = command(capsys, "--root", root)
    assert code == 1 and "1 problem" in out and "cannot read the split file" in out
    (root / "dtd" / SPLIT).unlink()
    code, out, _ = command(capsys, "--root", root)
    assert code == 1 and "dtd: no " in out


def test_mistakes_in_the_command_are_one_sentence(root, capsys):
    for arguments, message in [
        (("--root", root, "--names", "dtdd"), "unknown data set 'dtdd'. Did you mean 'dtd'?"),
        (("--root", root, "--names", ","), "--names is empty"),
        (("--root", root / "gone"), "no such folder"),
        (("--root", root, "--source", "web"), "invalid choice"),
        ((), "--root"),
    ]:
        code, out, err = command(capsys, *arguments)
        assert code == 2 and message in err and not out


def test_real_pictures_are_a_subset_that_can_be_read(shared):
    finding = check.check("dtd", shared / "data")
    assert finding.found and finding.dataset is not None
    assert not [p for p in finding.problems if p.startswith(("missing", "cannot"))]


def test_throughput_does_the_same_work_as_ours(tmp_path, capsys):
    pytest.importorskip("torch")
    dataset = throughput.photos(tmp_path, 3)
    pictures = throughput.TorchPictures([tmp_path / "0.jpg"], [7], 16)
    image, label = pictures[0]
    assert image.shape == (3, 16, 16) and label == 7 and -3 < float(image.min()) < 0
    ways = throughput.contenders(dataset, 2, 16, 1)
    ours = {name: start for name, start in ways.items() if "threads" in name}
    rates = throughput.compare(ours, 2, seconds=0.05, rounds=2, warm_up=1)
    assert all(rate > 0 for both in rates.values() for rate in both)
    console = Console(width=100)
    console.print(throughput.table("a title", rates))
    assert "1.00 (1.00 to 1.00)" in capsys.readouterr().out


def test_throughput_refuses_settings_and_data_it_cannot_use(tmp_path, capsys):
    pytest.importorskip("torch")
    with pytest.raises(SystemExit):
        throughput.main(["--batch", "0"])
    assert "--batch=0: must be above 0" in capsys.readouterr().err
    assert throughput.main(["--root", str(tmp_path), "--name", "dtd"]) == 1
    assert "dtd: no" in capsys.readouterr().err

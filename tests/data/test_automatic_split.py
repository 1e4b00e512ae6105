"""Own images and videos without a split are split automatically."""

import hashlib
import math

import pytest
import tiny
from PIL import Image
from test_overview import save_folders

from data_pipelines import datasets
from data_pipelines.errors import DataError
from data_pipelines.layouts import automatic
from data_pipelines.layouts.layout import SPLITS
from experiments.run import experiment


def images(dataset):
    return {split: [one.image for one in getattr(dataset, split)] for split in SPLITS}


def ranked(folder):
    """Returns a class's files in the order of the rule, computed independently."""
    names = [str(path.relative_to(folder)) for path in folder.rglob("*.png")]
    return sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())


def test_classes_without_a_split_are_divided_by_hashes_of_file_names(tmp_path):
    save_folders(tmp_path, **{"": {"red_apple": 20, "pear": 7}}, pear={"sub": 3})
    dataset = datasets.load("folder", tmp_path)
    assert dataset.class_names == ("pear", "red apple")
    found = images(dataset)
    for name, (train, val) in {"red_apple": (10, 4), "pear": (5, 2)}.items():
        names = [f"{name}/{each}" for each in ranked(tmp_path / name)]
        parts = {"train": names[:train], "val": names[train : train + val]}
        for split, part in (parts | {"test": names[train + val :]}).items():
            assert [one for one in found[split] if one.startswith(name)] == [
                one for one in names_in_order(dataset, name) if one in part
            ]
    assert dataset.split_source == automatic.RULE
    nested, reported = dataset.notes
    assert "15 train, 6 val, 9 test; the run directory lists them in split….csv" in reported
    assert "pear contains the directory sub: their images count as 'pear'" in nested
    # Changing other files or classes moves at most one file across each border.
    (tmp_path / "red_apple/0.png").unlink()
    after = images(datasets.load("folder", tmp_path))
    for split, most in (("train", 1), ("val", 2), ("test", 1)):
        assert len(set(after[split]) - set(found[split])) <= most
        assert [p for p in after[split] if "pear" in p] == [p for p in found[split] if "pear" in p]


def names_in_order(dataset, name):
    """Returns the files of a class in directory order, of all splits."""
    everything = [one for split in images(dataset).values() for one in split]
    return sorted((one for one in everything if one.startswith(name)), key=in_order)


def in_order(path):
    return path.count("/"), path


@pytest.mark.parametrize("number", range(1, 12))
def test_a_class_of_two_files_has_one_for_training_and_one_for_testing(number):
    paths = [f"a/{i}.jpg" for i in range(number)]
    counts = {split: len(found["a"]) for split, found in automatic.divide({"a": paths}).items()}
    assert counts["train"] == math.ceil(number / 2) and counts["val"] == number // 5
    assert sum(counts.values()) == number and (counts["test"] >= 1) == (number >= 2)


def test_domains_and_classes_are_distinguished_by_the_depth_of_the_images(tmp_path):
    save_folders(tmp_path / "photo", **{"": {"cat": 4, "dog": 4}})
    save_folders(tmp_path / "sketch", train={"cat": 2}, test={"dog": 2})
    with pytest.raises(DataError, match="choose one of its domains: folder:photo, folder:sketch"):
        datasets.load("folder", tmp_path)
    dataset = datasets.load("folder:photo", tmp_path)
    assert dataset.class_names == ("cat", "dog") and len(dataset.test) == 4
    assert dataset.split_source == f"{automatic.RULE} of photo"
    assert datasets.load("folder:sketch", tmp_path).split_source == "folders train, test of sketch"
    # One image directly in a directory makes the directories classes.
    save_folders(tmp_path, **{"": {"photo": 1}})
    with pytest.raises(DataError, match="unknown domain of .*: sketch"):
        datasets.load("folder:photo", tmp_path)


def test_a_misspelled_split_is_not_a_class(tmp_path):
    save_folders(tmp_path, training={"a": 2, "b": 2}, testing={"a": 2, "b": 2})
    with pytest.raises(DataError, match="domains: folder:testing, folder:training .or, if those"):
        datasets.load("folder", tmp_path)
    save_folders(tmp_path, val={"a": 2})
    with pytest.raises(DataError, match="no directory train or test in"):
        datasets.load("folder", tmp_path)


def test_videos_are_divided_too_and_frames_are_not_classes(tmp_path):
    for name in ("jump/1.mp4", "jump/2.mp4", "run/a.avi"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    save_folders(tmp_path, run={"frames": 3})
    dataset = datasets.load("clip_folder", tmp_path)
    found = images(dataset)
    assert len(found["train"]) == len(found["test"]) == 2 and not found["val"]
    assert "run/frames" in found["train"] + found["test"]
    assert dataset.split_source == automatic.RULE


def test_a_run_writes_the_split_which_csv_reads_as_equal_lists(tmp_path, capsys):
    clip = tiny.save_clip(tmp_path / "clip")
    root = save_folders(tmp_path / "own", **{"": {"a_b": 5, "aB": 4}})
    Image.new("RGB", (8, 8)).save(root / "aB/b, c.png")
    config = tiny.small_config("zero_shot", clip)
    config.protocol = "few_shot"
    config.data.update(name="folder", root=str(root), num_classes=0, test_per_class=0, shots=2)
    results = experiment.run(config, tmp_path / "run")
    assert results["split_source"] == automatic.RULE
    assert "split by class and a hash of their file names: 6 train" in (capsys.readouterr().out)
    by_csv = datasets.load("csv", tmp_path / "run/split.csv")
    by_folder = datasets.load("folder", root)
    for split in SPLITS:
        assert [one._replace(image="") for one in getattr(by_csv, split)] == [
            one._replace(image="") for one in getattr(by_folder, split)
        ]
        assert [by_csv.folder / one.image for one in getattr(by_csv, split)] == [
            by_folder.folder / one.image for one in getattr(by_folder, split)
        ]

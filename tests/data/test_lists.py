"""Lists with invalid paths, labels or names are rejected with file and position."""

import json
import os
import sys

import pytest

from data_pipelines import check, datasets
from data_pipelines.checks import contents, lists
from data_pipelines.errors import DataError
from data_pipelines.examples import Dataset, Example
from data_pipelines.layouts import csv_list

SPLIT = "split_zhou_DescribableTextures.json"
DIGITS = "1" * 5000
NESTED = "[" * 100_000 + "]" * 100_000


def coop(root, text):
    (root / "dtd/images").mkdir(parents=True)
    (root / "dtd" / SPLIT).write_text(text)
    return datasets.load("dtd", root)


def split(*train):
    return json.dumps({"train": train, "val": [], "test": []})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f'{{"train": {NESTED}, "val": [], "test": []}}', "brackets are nested too deeply"),
        (split("").replace('""', "[" * 900 + "]" * 900), r"train\[0\] is \[\[\[\["),
        (
            f'{{"train": [["a.jpg", {DIGITS}, "x"]], "val": [], "test": []}}',
            r"a number of 5,000 digits; labels have at most 9: line 1 column 22 \(char 21\)",
        ),
        (
            f'{{"train": [["a.jpg", -{DIGITS}, "x"]], "val": [], "test": []}}',
            "a number of 5,000 digits",
        ),
        (split(["a.jpg", 2**31, "x"]), "a number of 10 digits"),
        (split(["a.jpg", 999_999_999, "x"]), "labels go from 999999999 to 999999999"),
        (split(["a" * 300 + ".jpg", 0, "x"]), r"train\[0\] has the path 'aaa.*304 characters"),
        (split(["é" * 128 + ".jpg", 0, "x"]), "the limits are 255 bytes for each name"),
        (split(["a/" * 3000 + "b.jpg", 0, "x"]), "and 4,096 for the whole"),
        (
            split(["a\0.jpg", 0, "x"]),
            r"train\[0\] has the path 'a\\x00.jpg', which contains a null byte",
        ),
        (
            split(["a.jpg", 0, "caf\udce9"]),
            r"label 0 has the class name 'caf.udce9', .* not valid Unicode",
        ),
        (split(["a.jpg", 0, "x" * 1001]), r"label 0 has the class name 'x{60}'… \(1,001 char"),
        (
            '{"train": [["a.jpg", 0, "x"]], "val": [], "test": [], "train": []}',
            "object of the split file names 'train' more than once; keep one",
        ),
    ],
)
def test_invalid_split_files_are_rejected(tmp_path, text, message):
    with pytest.raises(DataError, match=message) as error:
        coop(tmp_path, text)
    assert len(str(error.value)) < 1000
    finding = check.check("dtd", tmp_path, quick=True)
    assert finding.found and len(finding.problems) == 1


def test_the_longest_path_and_a_name_with_a_line_break_are_accepted(tmp_path):
    dataset = coop(tmp_path, split(["a" * 251 + ".jpg", 0, "red\napple"], ["b.jpg", 1, "pear"]))
    assert dataset.class_names == ("red apple", "pear")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (f"a.jpg,{DIGITS},test,x", r"line 2: label is '1{60}'… \(5,000 characters\); with a colu"),
        ("a.jpg,2147483648,test,x", "whole number from 0, of at most 9 digits"),
        ("a" * 300 + ".jpg,0,test,x", "line 2 has the path 'aaa"),
        ("a\0.jpg,0,test,x", "line 2 has the path .*null byte"),
        ("a.jpg,0,test," + "x" * 131_073, "line 2: not valid CSV: field larger than field limit"),
        ("a.jpg,0," + "x" * 100_000 + ",x", r"line 2: 'x{60}'… \(100,000 characters\)"),
        ("a.jpg,0,test,__", "label 0 has an empty class name"),
    ],
)
def test_invalid_csv_files_are_rejected(tmp_path, rows, message):
    (tmp_path / "l.csv").write_text(f"path,label,split,name\n{rows}\n")
    with pytest.raises(DataError, match=message) as error:
        datasets.load("csv", tmp_path)
    assert len(str(error.value)) < 1000


def test_other_kinds_of_lists_have_the_same_checks(tmp_path):
    home = tmp_path / "fgvc_aircraft"
    (home / "images").mkdir(parents=True)
    (home / "variants.txt").write_text("707\n")
    for part in ("train", "val", "test"):
        (home / f"images_variant_{part}.txt").write_text("1" * 300 + " 707\n")
    with pytest.raises(DataError, match=r"images_variant_train.txt, line 1 has the path '1{60}"):
        datasets.load("fgvc_aircraft", tmp_path)
    image = tmp_path / "imagenet/images/val/n00000001/a.jpg"
    image.parent.mkdir(parents=True)
    image.touch()
    for name, message in (("_", "an empty class name"), ("x" * 9999, "9,999 characters")):
        (tmp_path / "imagenet/classnames.txt").write_text(f"n00000001 {name}\n")
        with pytest.raises(DataError, match=f"imagenet: label 0 has .*{message}"):
            datasets.load("imagenet", tmp_path)


@pytest.mark.parametrize("name", ["dtd", "csv", "folder", "imagenet", "fgvc_aircraft"])
@pytest.mark.parametrize("root", ["r" * 300, "a\0b", "~nobody-of-this-name/data"])
def test_an_invalid_root_is_rejected(name, root):
    with pytest.raises(DataError, match=r"is not a directory|no such file or directory"):
        datasets.load(name, root)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of Unix")
def test_a_pipe_is_not_read_as_a_list(tmp_path):
    (tmp_path / "dtd/images").mkdir(parents=True)
    os.mkfifo(tmp_path / "dtd" / SPLIT)
    with pytest.raises(DataError, match="cannot read the split file .* it is not a regular file"):
        datasets.load("dtd", tmp_path)
    with pytest.raises(DataError, match="no such file or directory"):
        csv_list.CsvLayout().load("csv", tmp_path / "dtd" / SPLIT, "{}")


def test_equal_keys_of_different_data_sets_are_not_duplicates():
    """Keys of TFDS records are the same in every data set; only the data set's name differs."""

    def part(name, role):
        example = Example("train/0", 0, "x")
        return lists.Part(role, Dataset(name, "{}", (example,), (), (), open), (example,))

    assert not lists.listed_twice([part("dtd", "train"), part("caltech101", "test")])
    (remark,) = lists.listed_twice([part("csv", "train"), part("csv:shop", "test")])
    assert remark.stops
    (remark,) = lists.listed_twice([part("csv", "train"), part("csv", "val")])
    assert not remark.stops


def test_only_files_of_equal_size_are_compared(tmp_path, monkeypatch):
    for name, content in {"a": b"123", "b": b"12", "c": b"124", "d": b"12"}.items():
        (tmp_path / name).write_bytes(content)
    examples = [Example(name, 0, "x") for name in "abcd"]
    dataset = Dataset("folder", "{}", (), (), (), open, tmp_path)
    read = []
    digest = contents.digest
    monkeypatch.setattr(contents, "digest", lambda path: read.append(path.name) or digest(path))
    parts = [lists.Part("train", dataset, examples[:2]), lists.Part("test", dataset, examples[3:])]
    assert lists.find_copies(parts) == [lists.Copy("d", "test", "b", "train")]
    assert read == ["b", "d"]


def test_an_image_of_two_classes_stops_a_run_and_a_copy_is_reported(tmp_path):
    for name in ("mug/a", "mug/b", "bike/c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"same" if name != "mug/b" else b"else")
    (tmp_path / "bike/link").symlink_to(tmp_path / "mug/b")

    def part(*images):
        examples = [Example(image, "mb".index(image[0]), image[:4]) for image in images]
        dataset = Dataset("folder", "{}", tuple(examples), (), (), open, tmp_path)
        return [lists.Part("train", dataset, examples)]

    (copy,) = lists.copies(part("mug/a", "mug/b", "bike/c"))
    assert copy.text.startswith("images copied from another class: 1, e.g. bike/c (same as mug/a")
    assert not copy.stops and not lists.copies(part("mug/a", "mug/b"))
    (torn,) = lists.listed_twice(part("mug/a", "mug/b", "bike/link"))
    assert torn.stops and torn.text == (
        "images listed in two classes: 1, e.g. mug/b ('mug/' and 'bike'); leave each in one"
    )

"""The overview of classes and images at the start of a run, and the lists that stop it."""

import json
import shutil
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
from PIL import Image

from data_pipelines import check
from data_pipelines.batches.options import ReadOptions
from data_pipelines.catalog.table import TABLE
from data_pipelines.errors import DataError
from data_pipelines.examples import Dataset, Example
from experiments.config.config import read
from experiments.run import experiment
from experiments.setup import loading, overview, plans, preparation
from experiments.setup.batches import RunBatches
from experiments.setup.plans import Plan
from prompt_jax.inputs.augmenting import Augmentation
from prompt_jax.inputs.preparation import Inputs

BATCHES = RunBatches(Inputs.of(32), Augmentation(), 4, 4, 1, ReadOptions())  # no image is read here


def save_folders(root: Path, **splits: dict[str, int]) -> Path:
    """Writes own images with different bytes: {split: {class directory: number of images}}."""
    for split, classes in splits.items():
        for name, number in classes.items():
            for i in range(number):
                path = root / split / name / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                rng = np.random.default_rng(zlib.crc32(str(path).encode()))
                Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(path)
    return root


def plan_of(root, protocol="few_shot", shots=3, name="folder", **data):
    config = tiny.small_config("coop", Path("embedded"))
    config.protocol = protocol
    config.data.update(name=name, root=str(root), num_classes=0, test_per_class=0, shots=shots)
    config.data.update(data)
    return plans.build(read(config), 32, True)


def overview_lines(plan, capsys, shots=3, trains=True):
    """Returns the lines of the overview below the table's headings, with single spaces."""
    overview.show(plan, shots, trains)
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()[1:]]


def test_two_classes_are_listed_with_their_counts(tmp_path, capsys):
    save_folders(tmp_path, train={"cat": 5, "dog": 2}, val={"cat": 1}, test={"cat": 4, "dog": 4})
    assert overview_lines(plan_of(tmp_path), capsys) == [
        "train folder 2 5 2 to 3 3 2",
        "val folder the same 2 1 0 to 1",
        "test folder the same 2 8 4",
        "train (folder): cat (3), dog (2)",
        "note: train: classes with fewer images than 3 shots: 1, e.g. 'dog' (2)",
    ]
    # Without training, nothing about training images is printed.
    assert overview_lines(plan_of(tmp_path), capsys, trains=False) == [
        "test folder 2 8 4",
        "test (folder): cat, dog",
    ]


def test_each_half_of_base_to_novel_is_listed(tmp_path, capsys):
    classes = dict.fromkeys("abcd", 3)
    save_folders(tmp_path, train=classes, test=classes | {"d": 1})
    assert overview_lines(plan_of(tmp_path, "base_to_novel"), capsys) == [
        "train folder 2 6 3 3",
        "test base the same 2 6 3",
        "test new 2 4 1 to 3",
        "train (folder): a, b",
        "test (new): c (3), d (1)",
    ]


def make_dataset(count: int, per_class: int) -> Dataset:
    """Returns a data set without files."""

    def part(split):
        return tuple(
            Example(f"{split}/{label}/{i}", label, f"class {label}")
            for label in range(count)
            for i in range(per_class)
        )

    return Dataset("emoji_scenes", "{}", part("train"), (), part("test"), Image.new)


def test_a_thousand_classes_take_one_line(capsys):
    dataset = make_dataset(1000, 2)
    lines = overview_lines(Plan(dataset, {"test": dataset}, {}, BATCHES), capsys, shots=2)
    assert lines == [
        "train emoji_scenes 1,000 2,000 2 2",
        "test emoji_scenes the same 1,000 2,000 2",
        "train (emoji_scenes): class 0, class 1, class 2, … and 997 more",
    ]
    ten = make_dataset(10, 2)
    line = overview.describe(Plan(ten, {}, {}, BATCHES), True)[0]
    assert line.endswith(": " + ", ".join(ten.class_names))


def test_names_are_escaped_on_the_terminal(capsys):
    dataset = Dataset("csv", "{}", (Example("a", 0, "\x1b[2J"), Example("b", 1, "é")), (), (), open)
    line = overview.describe(Plan(dataset, {}, {}, BATCHES), True)[0]
    assert line.endswith(": \\x1b[2J, é")
    plan = Plan(dataset, {"[red]\x1b[2J": replace(dataset, test=dataset.train)}, {}, BATCHES)
    rows = overview_lines(plan, capsys, trains=False)
    assert rows == ["test [red]\\x1b[2J 2 2 1", "test ([red]\\x1b[2J): \\x1b[2J, é"]


def test_excluded_images_are_listed_with_the_reason(tmp_path, capsys):
    save_folders(tmp_path, train={"a": 3, "b": 3}, test={"a": 1, "b": 1})
    (tmp_path / "train/a/1.png").write_text("no image")
    lines = overview_lines(plans.check_images(plan_of(tmp_path), skip_bad=True), capsys)
    assert lines[0] == "train folder 2 5 2 to 3 3"
    [left] = [line for line in lines if line.startswith("excluded: 1 unreadable images")]
    assert f"{tmp_path}/train/a/1.png: not an image" in left


def test_directories_below_a_class_are_noted(tmp_path, capsys):
    inner = {"Fruit": ("Apple", "Fig", "Lime", "Pear"), "Packages": ("Milk",)}
    for split in ("train", "test"):
        for name, folders in inner.items():
            save_folders(tmp_path, **{f"{split}/{name}": dict.fromkeys(folders, 1)})
    (tmp_path / "valid/Fruit").mkdir(parents=True)
    notes = [
        "train/Fruit contains the directories Apple, Fig, Lime, … (4 in all): their images count "
        "as 'Fruit' (likewise in 3 more, e.g. train/Packages). If they are the classes, move them "
        "up to train/",
        f"{tmp_path} also contains valid: only train, val, test are read",
    ]
    lines = overview_lines(plan_of(tmp_path, shots=1), capsys, shots=1)
    assert [line for line in lines if "note" in line] == [f"note: {note}" for note in notes]
    finding = check.check("folder", tmp_path, quick=True)
    assert finding.notes == tuple(notes) and not finding.problems


def test_a_class_without_training_images_is_reported(tmp_path, capsys):
    save_folders(tmp_path, train={"a": 3, "b": 3}, test={"a": 1, "b": 1, "c": 1})
    lines = overview_lines(plan_of(tmp_path), capsys)
    assert "note: train: classes without images: 1, e.g. 'c'" in lines
    assert "train (folder): a (3), b (3), c (0)" in lines


def test_a_class_with_only_validation_images_is_rejected(tmp_path):
    save_folders(tmp_path, train={"a": 1, "c": 1}, val={"b": 1}, test={"a": 1, "c": 1})
    with pytest.raises(DataError, match="class 'b' has only validation images"):
        plan_of(tmp_path)


@pytest.mark.parametrize(
    ("protocol", "classes", "reason"),
    [
        ("few_shot", "a", "train: only one class, 'a', so every prediction is correct; add others"),
        ("base_to_novel", "ab", "test base: only one class, 'a'.*; --config.protocol=few_shot"),
        ("base_to_novel", "abc", "test new: only one class, 'c'.*; --config.protocol=few_shot"),
    ],
)
def test_a_single_class_stops_a_run(tmp_path, protocol, classes, reason):
    save_folders(tmp_path, train=dict.fromkeys(classes, 3), test=dict.fromkeys(classes, 1))
    plan = plan_of(tmp_path, protocol)
    message = f"(?s)would be meaningless:.*{reason}"
    with pytest.raises(DataError, match=message):
        overview.show(plan, 3, True)


# Equal for CLIP's tokenizer: case, HTML, full width, composed accents, control characters.
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Dog", "dog"),
        ("a & b", "a &amp; b"),
        ("Ｄog", "dog"),
        ("caf\u00e9", "cafe\u0301"),
        ("do\x07g", "dog"),
    ],
)
def test_names_that_make_the_same_prompt_stop_a_run(tmp_path, one, other):
    save_folders(tmp_path, train={one: 3, other: 3}, test={one: 1, other: 1})
    with pytest.raises(DataError, match="labels [01] and [12], .*, make the same prompt"):
        plan_of(tmp_path)


def test_a_name_without_tokens_stops_a_run(tmp_path):
    save_folders(tmp_path, train={"\ufeff": 1, "dog": 1}, test={"dog": 1})
    with pytest.raises(DataError, match=r"label 1 has .*'\\ufeff', which has no tokens"):
        plan_of(tmp_path)


def test_repeated_published_names_are_only_noted(capsys):
    names = ("missile", "sunglasses", "missile")
    test = tuple(Example(f"{i}", i, name) for i, name in enumerate(names))
    dataset = Dataset("imagenet", "{}", (), (), test, open)
    lines = overview_lines(Plan(dataset, {"test": dataset}, {}, BATCHES), capsys, trains=False)
    expected = "'missile' (label 0) and 'missile' (label 2)"
    expected = f"class names that make the same prompt: 1, e.g. {expected}"
    assert lines[-1] == f"note: {expected}"


def test_an_image_in_training_and_test_stops_a_run(tmp_path, capsys):
    save_folders(tmp_path, train={"a": 1, "b": 1})
    rows = ["train/a/0.png,a,train", "train/b/0.png,b,train", "./train/a/0.png,a,test"]
    (tmp_path / "l.csv").write_text("\n".join(["path,label,split", *rows]))
    plan = plan_of(tmp_path / "l.csv", name="csv", shots=1)
    with pytest.raises(DataError, match=r"more than once: 1, e.g. train/a/0.png \(train, test\)"):
        overview.show(plan, 1, True)
    capsys.readouterr()
    lines = overview_lines(plan, capsys, trains=False)  # zero-shot CLIP has not seen it
    assert lines[2:] == ["note: test: classes without images: 1, e.g. 'b'"]


@pytest.mark.parametrize("trains", [True, False])
def test_a_test_list_is_checked_without_training(tmp_path, capsys, trains):
    save_folders(tmp_path, train={"cat": 3, "dog": 3}, test={"cat": 4, "dog": 4})
    plan = plan_of(tmp_path)
    test = plan.tests["test"]

    def listing(*more):
        return replace(plan, tests={"test": replace(test, test=(*test.test, *more))})

    first = test.test[0]
    doubled = "note: images listed more than once: 1, e.g. test/cat/0.png (test, test)"
    assert doubled in overview_lines(listing(first), capsys, trains=trains)
    with pytest.raises(DataError, match=r"in two classes: 1, e.g. test/cat/0.png \('cat' and 'do"):
        overview.show(listing(first._replace(label=1, name="dog")), 3, trains)
    shutil.copy(tmp_path / "test/cat/0.png", tmp_path / "test/dog/0.png")
    copied = "note: images copied from another class: 1, e.g. test/dog/0.png (same as test/cat/0"
    assert copied in "".join(overview_lines(plan_of(tmp_path), capsys, trains=trains))


def test_copies_are_reported_and_stop_a_run_if_they_are_half_of_a_test_set(tmp_path, capsys):
    save_folders(tmp_path, train={"a": 3, "b": 3}, test={"a": 4, "b": 4})
    shutil.copy(tmp_path / "train/a/0.png", tmp_path / "test/a/copy.png")
    lines = overview_lines(plan_of(tmp_path), capsys)
    copied = "images copied from another split: 1, e.g. test/a/copy.png (same as train/a/0.png)"
    assert f"note: {copied}" in lines
    shutil.rmtree(tmp_path / "test")
    shutil.copytree(tmp_path / "train", tmp_path / "test")
    with pytest.raises(DataError, match="be meaningless: images copied .*: 6, .*remove one of"):
        overview.show(plan_of(tmp_path), 3, True)


def test_copies_of_the_source_in_a_target_are_reported(tmp_path, capsys):
    for domain in ("photo", "drawing"):
        save_folders(tmp_path / domain, train={"a": 1, "b": 1}, test={"a": 2, "b": 2})
    shutil.copy(tmp_path / "photo/train/a/0.png", tmp_path / "drawing/test/a/0.png")
    data = {"domain": "photo", "names": "folder:photo, folder:drawing"}
    lines = overview_lines(plan_of(tmp_path, "domain_generalization", 1, **data), capsys, 1)
    titles = [line.split(" 2 ")[0] for line in lines if line.startswith(("train ", "test "))]
    # The source is a target too, and is tested once.
    rows = ["train folder:photo", "test folder:photo the same", "test folder:drawing the same"]
    assert titles[:3] == rows
    copied = "images copied from another split: 1, e.g. test/a/0.png (same as train/a/0.png)"
    assert lines[-1] == f"note: {copied}"


@pytest.mark.slow
def test_the_published_splits_stop_no_run(shared, tmp_path):
    names = [name for name, entry in TABLE.items() if entry.split_sha256]
    assert len(names) == 7
    for name in names:
        layout = TABLE[name].layout
        (tmp_path / layout.folder / layout.images).mkdir(parents=True)
        content = (shared / "data/splits" / layout.split).read_bytes()
        (tmp_path / layout.folder / layout.split).write_bytes(content)
        for protocol in ("base_to_novel", "few_shot"):
            found = overview.remarks(plan_of(tmp_path, protocol, 16, name), 16, True)
            assert not found


def test_a_run_prints_the_overview_before_training_and_records_the_shots(tmp_path, capsys):
    clip = tiny.save_clip(tmp_path / "clip")
    root = save_folders(tmp_path / "own", train={"a": 2, "b": 1}, test={"a": 1, "b": 1})
    config = tiny.small_config("zero_shot", clip)
    config.protocol = "few_shot"
    config.data.update(name="folder", root=str(root), num_classes=0, test_per_class=0, shots=500)
    found = experiment.run(config, tmp_path / "run")
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "data set classes images per class" in lines and "test folder 2 2 1" in lines
    assert "test (folder): a, b" in lines
    written = json.loads((tmp_path / "run/results.json").read_text())
    assert written["shots_per_class"] == found["shots_per_class"] == [1, 2]
    shutil.rmtree(root / "train/b")
    shutil.rmtree(root / "test/b")
    with pytest.raises(DataError, match="only one class"):
        preparation.prepare(loading.load(config, tmp_path / "other"))

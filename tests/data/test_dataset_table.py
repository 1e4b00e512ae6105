"""The table of data sets is complete and agrees with the real files."""

import json

import pytest

from data_pipelines import datasets, scenes
from data_pipelines.datasets import TABLE
from data_pipelines.errors import DataError
from data_pipelines.layouts import class_names
from data_pipelines.layouts.coop import CoopLayout
from prompt_jax.text.class_names import spaced

PUBLISHED = [
    *("ImageNet", "Caltech101", "OxfordPets", "StanfordCars", "Flowers102", "Food101"),
    *("FGVCAircraft", "SUN397", "DTD", "EuroSAT", "UCF101"),
    *("ImageNetV2", "ImageNet-Sketch", "ImageNet-A", "ImageNet-R"),
]
PUBLISHED_VIDEOS = ["MSR-VTT-9k", "MSR-VTT-7k", "MSVD", "LSMDC", "DiDeMo", "ActivityNet"]
PUBLISHED_ACTIONS = [
    *("HMDB-51", "UCF-101 videos", "Something-Something v2", "Kinetics-400"),
    "Kinetics-600, 160 new classes",
]


def test_published_data_sets_come_first_in_the_order_of_the_tables():
    titles = [entry.title for entry in TABLE.values()]
    published = PUBLISHED + PUBLISHED_VIDEOS + PUBLISHED_ACTIONS
    assert titles[: len(published)] == published
    own = ["folder", "csv", "captions_csv", "clip_folder", "clip_csv", "clip_lists"]
    assert list(TABLE)[len(published) :] == ["emoji_scenes", "emoji_clips", *own]


@pytest.mark.parametrize("name", TABLE)
def test_every_entry_has_a_template_slot_and_an_expected_layout(name):
    entry = TABLE[name]
    assert entry.template.count("{}") == 1 and entry.layout.expected()
    if entry.title in PUBLISHED + PUBLISHED_VIDEOS + PUBLISHED_ACTIONS:
        assert entry.counts and entry.citation and entry.url
        assert (entry.num_classes is None) == (entry.title in PUBLISHED_VIDEOS)
        with pytest.raises(DataError, match="root is not set\nExpected layout:"):
            datasets.load(name)


def test_the_embedded_data_set_has_the_classes_of_the_table():
    assert TABLE["emoji_scenes"].num_classes == len(scenes.CLASSES)
    assert TABLE["emoji_clips"].num_classes == len(scenes.ACTIONS)


@pytest.mark.parametrize(
    "name", [name for name, entry in TABLE.items() if isinstance(entry.layout, CoopLayout)]
)
def test_counts_agree_with_the_real_split_files(name, shared, tmp_path):
    entry = TABLE[name]
    split = shared / "data/splits" / entry.layout.split
    if not split.is_file():
        pytest.skip(f"no real split file {split.name} in {split.parent}")
    home = tmp_path / entry.layout.folder
    (home / entry.layout.images).mkdir(parents=True)
    (home / entry.layout.split).symlink_to(split)
    dataset = datasets.load(name, tmp_path)
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == entry.counts
    assert len(dataset.class_names) == entry.num_classes


@pytest.mark.parametrize(
    ("clean", "raw", "expected"),
    [
        (spaced, "polka__dot ", "polka dot"),
        (class_names.lower, "Egyptian_Mau", "egyptian mau"),
        (class_names.caltech101, "Faces", "face"),
        (class_names.caltech101, "faces_easy", None),
        (class_names.caltech101, "background_google", None),
        (class_names.caltech101, "sea_horse", "sea horse"),
        (class_names.ucf101, "YoYo", "Yo Yo"),
        (class_names.sun397, "/a/abbey", "abbey"),
        (class_names.sun397, "/c/church/outdoor", "outdoor church"),
        (class_names.sun397, "/t/train_station/platform", "platform train station"),
        (class_names.stanford_cars, "Acura TL Sedan 2012", "2012 Acura TL Sedan"),
        (class_names.stanford_cars, "Audi 100", "Audi 100"),
        (class_names.stanford_cars, "", ""),
    ],
)
def test_raw_class_names_become_those_of_the_benchmark(clean, raw, expected):
    assert clean(raw) == expected


@pytest.mark.parametrize(
    ("clean", "split", "folder_of"),
    [
        (class_names.caltech101, "Caltech101", lambda path: path.split("/")[0]),
        (class_names.eurosat, "EuroSAT", lambda path: path.split("/")[0]),
        # The benchmark's directories are the original ones with underscores between the words.
        (class_names.ucf101, "UCF101", lambda path: path.split("/")[0].replace("_", "")),
        (class_names.lower, "OxfordPets", lambda path: path.rsplit("_", 1)[0]),
    ],
)
def test_cleaning_gives_the_names_of_the_real_split_files(clean, split, folder_of, shared):
    path = shared / "data/splits" / f"split_zhou_{split}.json"
    if not path.is_file():
        pytest.skip(f"no real split file {path}")
    entries = json.loads(path.read_text())["test"]
    assert {(clean(folder_of(p)), label) for p, label, _ in entries} == {
        (name.replace("_", " "), label) for _, label, name in entries
    }


def test_a_domain_may_be_part_of_the_name():
    few = {"num_classes": 2, "train_per_class": 1, "val_per_class": 0, "test_per_class": 1}
    dataset = datasets.load("emoji_scenes:night", **few)
    assert dataset.name == "emoji_scenes:night" and dataset.train[0].image.startswith("night/")
    assert datasets.load("emoji_scenes", domain="night", **few).train == dataset.train
    with pytest.raises(DataError, match="unknown domain of emoji_scenes 'nigt'"):
        datasets.load("emoji_scenes:nigt")
    with pytest.raises(DataError, match="disagree; set one"):
        datasets.load("emoji_scenes:night", domain="plain")

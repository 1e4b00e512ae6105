"""TFDS as a source: real builders write ArrayRecord files, which are read without TensorFlow."""

import contextlib
import io
import json
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from data_pipelines import datasets
from data_pipelines.datasets import TABLE
from data_pipelines.errors import BadImage, DataError
from data_pipelines.images import readers

tfds = pytest.importorskip("tensorflow_datasets", reason="the extra tfds is not installed")


def encoded(value, mode="RGB"):
    file = io.BytesIO()
    Image.new(mode, (9, 8), (value, 0, 0) if mode == "RGB" else value).save(file, "PNG")
    return file.getvalue()


def prepare(name, data_dir, splits, labels, file_key="file_name", features=None, config=None):
    """Writes a data set with TFDS and returns its directory.

    The argument `splits` is {split: [(label, file name)]}; the red value of an image is the
    position of its record.
    """
    kinds = features or {
        "image": tfds.features.Image(shape=(None, None, 3)),
        "label": tfds.features.ClassLabel(names=labels),
        **({file_key: tfds.features.Text()} if file_key else {}),
    }

    def info(self):
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(kinds))

    def generate(self, records):
        for position, (label, file) in enumerate(records):
            record = {"image": io.BytesIO(encoded(position)), "label": label, file_key: file}
            yield position, {key: record[key] for key in kinds}

    members = {
        "name": name,
        "VERSION": tfds.core.Version("1.2.0"),
        "BUILDER_CONFIGS": [tfds.core.BuilderConfig(name=config)] if config else [],
        "_info": info,
        "_split_generators": lambda self, _: {s: generate(self, r) for s, r in splits.items()},
        "_generate_examples": generate,
        "__module__": __name__,
    }
    # TFDS would look up metadata of the data set on the network.
    offline = mock.patch.object(tfds.core.DatasetInfo, "initialize_from_bucket")
    with tfds.core.registered.skip_registration(), offline:
        builder = type("Written", (tfds.core.GeneratorBasedBuilder,), members)(
            data_dir=data_dir, file_format="array_record"
        )
    with contextlib.redirect_stdout(io.StringIO()):
        builder.download_and_prepare()
    return builder.data_path


@pytest.fixture(autouse=True)
def no_tensorflow():
    """Checks that no test imports TensorFlow."""
    yield
    assert "tensorflow" not in sys.modules


def listed(labels, prefix):
    return [(label, f"{prefix}/{i}.jpg") for i, label in enumerate(labels)]


@pytest.fixture(scope="module")
def dtd(tmp_path_factory):
    """Returns a data_dir with "dtd": two classes, three splits."""
    root = tmp_path_factory.mktemp("tfds")
    splits = {
        "train": listed([0, 1] * 3, "tr"),
        "validation": listed([1, 0], "va"),
        "test": listed([0, 0, 1], "te"),
    }
    prepare("dtd", root, splits, ["banded", "polka_dot"])
    return root


def red(dataset, example):
    return dataset.read(example).getpixel((0, 0))[0]


def test_official_splits(dtd):
    dataset = datasets.load("dtd", dtd, source="tfds")
    assert dataset.class_names == ("banded", "polka dot") and dataset.template == "{} texture."
    assert [len(s) for s in (dataset.train, dataset.val, dataset.test)] == [6, 2, 3]
    assert sorted(e.image for e in dataset.val) == ["validation/0", "validation/1"]
    # The training positions 0, 2 and 4 have label 0; TFDS shuffles when it writes.
    assert sorted((red(dataset, e), e.label) for e in dataset.train) == [
        *((0, 0), (1, 1), (2, 0), (3, 1), (4, 0), (5, 1))
    ]
    expected = "TFDS dtd:1.2.0, train: train, val: validation, test: test"
    assert dataset.split_source == expected
    readers.check_files(dataset, dataset.train)


def test_the_reader_can_be_pickled_and_is_thread_safe(dtd):
    dataset = datasets.load("dtd", dtd, source="tfds")
    copy = pickle.loads(pickle.dumps(dataset))
    assert copy == dataset and copy.read(copy.test[0]).size == (9, 8)
    order = np.random.default_rng(0).integers(0, 6, 200)
    with ThreadPoolExecutor(8) as threads:
        reds = list(threads.map(lambda i: red(dataset, dataset.train[i]), order))
    assert reds == [red(dataset, dataset.train[i]) for i in order]


def test_a_split_file_selects_records_by_file_name(dtd, tmp_path):
    path = tmp_path / "split_zhou_DescribableTextures.json"
    split = {
        "train": [["tr/5.jpg", 1, "polka_dot"], ["tr/3.jpg", 1, "polka_dot"]],
        "val": [["tr/4.jpg", 0, "banded"]],
        "test": [],
    }
    path.write_text(json.dumps(split))
    dataset = datasets.load("dtd", dtd, source="tfds", split_file=path)
    assert [red(dataset, e) for e in (*dataset.train, *dataset.val)] == [5, 3, 4]
    assert [e.label for e in dataset.train] == [1, 1]
    assert dataset.split_source == f"{path.name}, images of TFDS dtd:1.2.0"
    split["test"] = [["te/7.jpg", 0, "banded"]]
    path.write_text(json.dumps(split))
    with pytest.raises(DataError, match="1 of its 4 images have no unique record.*\n  te/7.jpg"):
        datasets.load("dtd", dtd, source="tfds", split_file=path)


def test_repeated_file_names_are_matched_by_class_and_split(tmp_path):
    labels = ["background_google", "faces", "faces_easy", "sea_horse"]
    records = [(i, "image_0001.jpg") for i in (0, 1, 3)]
    prepare("caltech101", tmp_path, {"train": records}, labels, "image/file_name")
    dataset = datasets.load("caltech101", tmp_path, source="tfds")
    assert dataset.class_names == ("face", "sea horse") and dataset.test == ()
    path = tmp_path / "split.json"
    entries = [["sea_horse/image_0001.jpg", 1, "sea_horse"], ["Faces/image_0001.jpg", 0, "face"]]
    path.write_text(json.dumps({"train": entries, "val": [], "test": []}))
    dataset = datasets.load("caltech101", tmp_path, source="tfds", split_file=path)
    assert [red(dataset, e) for e in dataset.train] == [2, 1]
    # StanfordCars: numbers start from 1 in each split.
    names = ["Audi TT 2011", "Fiat 500 2012"]
    splits = {"train": [(0, "00001"), (1, "00002")], "test": [(1, "00001")]}
    prepare("cars196", tmp_path, splits, names, "id")
    entries = {
        "train": [["cars_test/00001.jpg", 1, "x"], ["cars_train/00001.jpg", 0, "y"]],
        "val": [["cars_train/00002.jpg", 1, "x"]],
        "test": [],
    }
    path.write_text(json.dumps(entries))
    dataset = datasets.load("stanford_cars", tmp_path, source="tfds", split_file=path)
    assert [e.image.split("/")[0] for e in dataset.train] == ["test", "train"]
    assert [red(dataset, e) for e in (*dataset.train, *dataset.val)] == [0, 0, 1]
    official = datasets.load("stanford_cars", tmp_path, source="tfds")
    assert official.class_names == ("2011 Audi TT", "2012 Fiat 500")


def test_food_without_file_names_or_a_test_split(tmp_path):
    splits = {"train": listed([0], "a"), "validation": listed([1, 1], "a")}
    prepare("food101", tmp_path, splits, ["apple_pie", "waffles"], file_key=None)
    dataset = datasets.load("food101", tmp_path, source="tfds")
    assert [len(s) for s in (dataset.train, dataset.val, dataset.test)] == [1, 0, 2]
    assert dataset.split_source.endswith("train: train, val: none in TFDS, test: validation")
    path = tmp_path / "split.json"
    path.write_text(json.dumps({"train": [["a/0.jpg", 0, "x"]], "val": [], "test": []}))
    with pytest.raises(DataError, match="has no file names"):
        datasets.load("food101", tmp_path, source="tfds", split_file=path)


def test_imagenet_has_names_from_a_file_and_an_unlabeled_test_split(tmp_path):
    wnids = ["n01440764", "n01443537", "n01484850"]
    splits = {"validation": listed([0, 2], "v"), "test": [(-1, "a"), (-1, "b")]}
    prepare("imagenet2012", tmp_path, splits, wnids)
    with pytest.raises(DataError, match="names are WordNet ids, and .*classnames.txt do not exist"):
        datasets.load("imagenet", tmp_path, source="tfds")
    names = tmp_path / "classnames.txt"
    names.write_text("n01440764 tench\nn01443537 goldfish\nn01484850 great white shark\n")
    dataset = datasets.load("imagenet", tmp_path, source="tfds")
    assert dataset.class_names == ("tench", "great white shark")
    assert "train: none in TFDS" in dataset.split_source and len(dataset.test) == 2
    assert dataset.classes.ids == (wnids[0], wnids[2])
    names.write_text("n01440764 tench\n")
    with pytest.raises(DataError, match="classnames.txt lacks 2 ids, e.g. n01443537"):
        datasets.load("imagenet", tmp_path, source="tfds", classnames=names)


def test_a_config_in_the_name(tmp_path):
    prepare(
        "eurosat", tmp_path, {"train": listed([0], "a")}, ["AnnualCrop"], "filename", None, "rgb"
    )
    dataset = datasets.load("eurosat", tmp_path, source="tfds")
    assert dataset.class_names == ("Annual Crop Land",)
    assert dataset.split_source.startswith("TFDS eurosat/rgb:1.2.0, train: train")


@pytest.mark.parametrize("name", [name for name, entry in TABLE.items() if entry.tfds])
def test_an_unprepared_data_set_names_the_command_that_prepares_it(name, tmp_path):
    command = f"tfds build {TABLE[name].tfds} --file_format=array_record --data_dir={tmp_path}"
    with pytest.raises(DataError, match=f"{name}: .* is not prepared in(.*\n)+  {command}"):
        datasets.load(name, tmp_path, source="tfds")


def test_other_formats_and_features_are_rejected(tmp_path):
    folder = prepare("dtd", tmp_path, {"train": listed([0], "a")}, ["x"])
    info = folder / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    with pytest.raises(DataError, match="dtd/1.2.0 contains tfrecord, which has no random access"):
        datasets.load("dtd", tmp_path, source="tfds")
    kinds = {"label": tfds.features.ClassLabel(names=["x"])}
    prepare("food101", tmp_path, {"train": listed([0], "a")}, ["x"], features=kinds)
    with pytest.raises(DataError, match="no feature 'image' of the kind Image; it has label"):
        datasets.load("food101", tmp_path, source="tfds")
    with pytest.raises(
        DataError, match="root is not set; set it to the data_dir of TFDS\n  tfds b"
    ):
        datasets.load("dtd", source="tfds")
    with pytest.raises(DataError, match="folder: not in TFDS; set source=coop. TFDS has imagen"):
        datasets.load("folder", tmp_path, source="tfds")
    with pytest.raises(DataError, match="option of the data set dtd: 'splits'.*split_file"):
        datasets.load("dtd", tmp_path, source="tfds", splits="x")


@pytest.mark.parametrize("name", ["ucf101", "ucf101_clips"])
def test_videos_need_tensorflow_and_the_message_suggests_the_alternative(name, tmp_path):
    folder = prepare("ucf101", tmp_path, {"train": listed([0], "a")}, ["x"])
    described = json.loads((folder / "features.json").read_text())
    described["featuresDict"]["features"]["video"] = {
        "pythonClassName": "tensorflow_datasets.core.features.video_feature.Video",
        "video": {"shape": {"dimensions": ["-1", "8", "9", "3"]}, "dtype": "uint8"},
    }
    (folder / "features.json").write_text(json.dumps(described))
    message = "has features, such as videos, for which TFDS needs the module tensorflow; set"
    with pytest.raises(DataError, match=f"{name}: ucf101 in .* {message}") as error:
        datasets.load(name, tmp_path, source="tfds")
    assert "\n" not in str(error.value)


def test_damaged_records_and_images(tmp_path):
    folder = prepare("dtd", tmp_path, {"train": listed([0], "a")}, ["x"])
    dataset = datasets.load("dtd", tmp_path, source="tfds")
    with pytest.raises(BadImage) as bad:
        dataset.read(dataset.train[0]._replace(image="train/5"))
    assert bad.value.image == "train/5"
    other = prepare("food101", tmp_path, {"train": listed([0], "a")}, ["x"])
    for shard in other.glob("*.array_record*"):
        shard.unlink()
    with pytest.raises(DataError, match="cannot read the records in .*food101"):
        datasets.load("food101", tmp_path, source="tfds")
    assert folder.is_dir()


def test_missing_tfds_is_reported(monkeypatch, tmp_path):
    for module in [m for m in sys.modules if m.startswith("tensorflow_datasets")]:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DataError, match=r"needs tensorflow-datasets.*pip install -e '\.\[tfds\]'"):
        datasets.load("dtd", tmp_path, source="tfds")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("dataset_info.json", "", "TFDS cannot read its metadata of dtd in"),
        ("features.json", "[" * 100_000 + "]" * 100_000, "cannot read .*; prepare it again"),
        ("features.json", "1" * 5000, "TFDS cannot read its metadata of dtd in"),
        ("label.labels.txt", None, "has no class names: label.labels.txt is missing"),
    ],
)
def test_damaged_metadata_is_rejected(tmp_path, file, content, message):
    folder = prepare("dtd", tmp_path, {"train": listed([0, 1], "tr")}, ["banded", "polka_dot"])
    (folder / file).unlink() if content is None else (folder / file).write_text(content)
    with pytest.raises(DataError, match=message):
        datasets.load("dtd", tmp_path, source="tfds")

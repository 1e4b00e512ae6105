"""ImageNet, its four variants and FGVCAircraft in the CoOp layout."""

import pickle

import pytest
from PIL import Image

from data_pipelines import datasets, sampling
from data_pipelines.errors import DataError
from data_pipelines.images import readers

WNIDS = {"n01440764": "tench", "n01443537": "goldfish", "n01484850": "great white shark"}


def write_image(path, width=8):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, 8)).save(path, "JPEG")


def write_names(folder):
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{wnid} {name}" for wnid, name in WNIDS.items()]
    (folder / "classnames.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture
def root(tmp_path):
    """Returns ImageNet with three classes, and its variants; only ImageNet has class names."""
    write_names(tmp_path / "imagenet")
    for number, wnid in enumerate(reversed(WNIDS)):
        for i in (1, 0):
            write_image(tmp_path / f"imagenet/images/train/{wnid}/{wnid}_{i}.JPEG", 10 + number)
        write_image(tmp_path / f"imagenet/images/val/{wnid}/ILSVRC_{number}.JPEG")
        write_image(tmp_path / f"imagenet-sketch/images/{wnid}/sketch_0.JPEG")
    for label in range(3):
        folder = tmp_path / "imagenetv2/imagenetv2-matched-frequency-format-val"
        write_image(folder / f"{label}/a.jpeg", 20 + label)
    for wnid in list(WNIDS)[1:]:
        write_image(tmp_path / f"imagenet-adversarial/imagenet-a/{wnid}/0.jpg")
        write_image(tmp_path / f"imagenet-rendition/imagenet-r/{wnid}/art_0.jpg")
    (tmp_path / "imagenet-rendition/imagenet-r/README.txt").write_text("")
    return tmp_path


def test_imagenet_has_sorted_images_and_no_validation(root):
    dataset = datasets.load("imagenet", root)
    assert dataset.class_names == tuple(WNIDS.values())
    assert dataset.classes == (tuple(WNIDS.values()), tuple(WNIDS))
    assert datasets.load("imagenet_a", root).classes.ids == tuple(WNIDS)[1:]
    assert datasets.load("imagenetv2", root).classes.ids == tuple(WNIDS)
    assert [e.image.split("/")[-1] for e in dataset.train[:2]] == [
        "n01440764_0.JPEG",
        "n01440764_1.JPEG",
    ]
    assert [len(s) for s in (dataset.train, dataset.val, dataset.test)] == [6, 0, 3]
    assert dataset.read(dataset.train[0]).size == (12, 8)
    assert dataset.split_source == "folders images/train and images/val"
    assert datasets.load("imagenet", root / "imagenet") == dataset
    assert pickle.loads(pickle.dumps(dataset)) == dataset
    readers.check_files(dataset, (*dataset.train, *dataset.test))
    # Fewer images than shots: all are used.
    assert len(sampling.few_shot(dataset, shots=16, seed=1).train) == 6


def test_training_images_may_be_absent(root):
    (root / "imagenet/images/train").rename(root / "imagenet/images/later")
    dataset = datasets.load("imagenet", root)
    assert dataset.train == () and len(dataset.test) == 3
    assert dataset.split_source == "folders images/val"


@pytest.mark.parametrize(
    ("name", "classes"),
    [("imagenetv2", 3), ("imagenet_sketch", 3), ("imagenet_a", 2), ("imagenet_r", 2)],
)
def test_variants_are_test_sets_and_a_and_r_have_their_own_classes(root, name, classes):
    dataset = datasets.load(name, root)
    assert dataset.class_names == tuple(WNIDS.values())[-classes:]
    assert (dataset.train, dataset.val, len(dataset.test)) == ((), (), classes)
    assert [e.label for e in dataset.test] == list(range(classes))
    dataset.read(dataset.test[-1])
    home = root / datasets.TABLE[name].layout.folder
    assert datasets.load(name, home) == dataset
    # Their own copy of the class names takes precedence.
    (home / "classnames.txt").write_text("".join(f"{wnid} {wnid}!\n" for wnid in WNIDS))
    assert datasets.load(name, root).class_names[-1] == "n01484850!"


def test_numbered_directories_are_labels(root):
    dataset = datasets.load("imagenetv2", root)
    assert [dataset.read(e).width - 20 for e in dataset.test] == [e.label for e in dataset.test]


def test_imagenetv2_is_read_by_wordnet_ids_too(root):
    by_label = datasets.load("imagenetv2", root)
    folder = root / "imagenetv2/imagenetv2-matched-frequency-format-val"
    for label, wnid in enumerate(WNIDS):
        (folder / str(label)).rename(folder / wnid)
    by_id = datasets.load("imagenetv2", root)
    assert [one[1:3] for one in by_id.test] == [one[1:3] for one in by_label.test]
    assert [by_id.read(one).size for one in by_id.test] == [(20, 8), (21, 8), (22, 8)]
    (folder / "3").mkdir()
    with pytest.raises(
        DataError, match="1 directories in .* by WordNet ids, are not classes .*: 3"
    ):
        datasets.load("imagenetv2", root)


def test_images_outside_of_class_directories_are_reported(root):
    val = root / "imagenet/images/val"
    for path in list(val.rglob("*.JPEG")):
        path.rename(val / path.name)
        path.parent.rmdir()
    with pytest.raises(DataError, match=r"imagenet: 3 images are directly in .*val, e.g. IL"):
        datasets.load("imagenet", root)


def test_unknown_and_missing_directories_are_rejected(root):
    (root / "imagenet/images/val/n99999999").mkdir()
    with pytest.raises(
        DataError, match="1 directories in .*val, .* not classes.*: n99999999; remove"
    ):
        datasets.load("imagenet", root)
    (root / "imagenet-sketch/images/n01443537/sketch_0.JPEG").unlink()
    with pytest.raises(DataError, match="1 classes of classnames.txt have no images.*n01443537"):
        datasets.load("imagenet_sketch", root)
    with pytest.raises(DataError, match="no folder of test images; looked for(.*\n)+Expected"):
        datasets.load("imagenet_r", root / "imagenet-sketch")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tench n01440764\n", "line 1: 'tench n01440764' must be like \"n01440764 tench\""),
        ("n01440764 tench\n\nn01440764 fish\n", "line 3: .* repeats an id"),
        ("", "no class names; must hold lines"),
        (b"n01440764 t\xe9nch\n", "not UTF-8"),
    ],
)
def test_malformed_class_names_are_rejected(root, text, message):
    path = root / "imagenet/classnames.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=message):
        datasets.load("imagenet", root)


def test_missing_class_names_are_rejected(root):
    (root / "imagenet/classnames.txt").unlink()
    with pytest.raises(DataError, match="no class names; looked for\n(.*\n)+Expected layout"):
        datasets.load("imagenet_a", root)


def test_the_real_imagenet_validation_images(shared):
    if not (shared / "data/imagenet").is_dir():
        pytest.skip(f"no ImageNet images in {shared / 'data'}")
    dataset = datasets.load("imagenet", shared / "data")
    assert (dataset.train, dataset.val, len(dataset.test)) == ((), (), 1000)
    assert dataset.class_names[:2] == ("tench", "goldfish") and len(dataset.class_names) == 1000
    assert dataset.read(dataset.test[-1]).mode == "RGB"


@pytest.fixture
def aircraft(tmp_path):
    """Returns FGVCAircraft with two variants, one with a space and a slash."""
    home = tmp_path / "fgvc_aircraft"
    home.mkdir()
    (home / "variants.txt").write_text("707-320\nF/A 18\n")
    for i, split in enumerate(("train", "val", "test")):
        lines = []
        for j, variant in enumerate(("F/A 18", "707-320")):
            write_image(home / f"images/00{i}{j}.jpg")
            lines.append(f"00{i}{j} {variant}\n")
        (home / f"images_variant_{split}.txt").write_text("".join(lines))
    return tmp_path


def test_aircraft(aircraft):
    dataset = datasets.load("fgvc_aircraft", aircraft)
    assert dataset.class_names == ("707-320", "F/A 18")
    assert [tuple(e[:3]) for e in dataset.val] == [
        ("0010.jpg", 1, "F/A 18"),
        ("0011.jpg", 0, "707-320"),
    ]
    readers.check_files(dataset, (*dataset.train, *dataset.val, *dataset.test))
    assert datasets.load("fgvc_aircraft", aircraft / "fgvc_aircraft") == dataset
    assert pickle.loads(pickle.dumps(dataset)) == dataset


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("images_variant_val.txt", "0010 747-100\n", r"val.txt, line 1: '0010 747-100' must be"),
        ("images_variant_test.txt", "../x 707-320\n", "line 1: '../x 707-320' must be"),
        ("variants.txt", "707-320\n707-320\nF/A 18\n", "labels 0 to 1.*renumber"),
    ],
)
def test_malformed_lists_of_aircraft_are_rejected(aircraft, file, text, message):
    (aircraft / "fgvc_aircraft" / file).write_text(text)
    with pytest.raises(DataError, match=message):
        datasets.load("fgvc_aircraft", aircraft)


def test_missing_lists_of_aircraft_are_rejected(aircraft):
    (aircraft / "fgvc_aircraft/images_variant_test.txt").unlink()
    with pytest.raises(DataError, match="cannot read the split file .*_test.txt: No such file"):
        datasets.load("fgvc_aircraft", aircraft)
    (aircraft / "fgvc_aircraft/images").rename(aircraft / "fgvc_aircraft/photos")
    with pytest.raises(DataError, match="no image directory"):
        datasets.load("fgvc_aircraft", aircraft)

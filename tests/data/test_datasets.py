"""Data sets are loaded from disk with all kinds of images; errors in the data are explained."""

import json
import pickle

import numpy as np
import pytest
from PIL import Image

from data_pipelines import datasets
from data_pipelines.errors import BadImage, DataError
from data_pipelines.examples import Dataset, Example, class_names
from data_pipelines.images import readers

SPLIT = "split_zhou_DescribableTextures.json"


@pytest.fixture
def root(tmp_path):
    """Returns a two-class data set "dtd" of real JPEG files, in the CoOp layout."""
    split = {"train": [], "val": [], "test": []}
    for label, name in enumerate(["banded", "polka_dot"]):
        folder = tmp_path / "dtd/images" / name
        folder.mkdir(parents=True)
        for i, part in enumerate(["train", "train", "val", "test"]):
            colour = (100 * label, 40 * i, 20)
            Image.new("RGB", (20 + i, 16), colour).save(folder / f"{i}.jpg")
            split[part].append([f"{name}/{i}.jpg", label, name])
    (tmp_path / "dtd" / SPLIT).write_text(json.dumps(split))
    return tmp_path


def rewrite(root, content):
    text = content if isinstance(content, str) else json.dumps(content)
    (root / "dtd" / SPLIT).write_text(text)


def test_loading_from_the_parent_or_the_directory_itself(root):
    dataset = datasets.load("dtd", root)
    assert dataset.class_names == ("banded", "polka dot")
    assert dataset.template.format("x") == "x texture."
    assert [len(s) for s in (dataset.train, dataset.val, dataset.test)] == [4, 2, 2]
    assert dataset.read(dataset.test[0]).size == (23, 16)
    assert datasets.load("dtd", root / "dtd") == dataset
    assert dataset.split_source == SPLIT
    pickle.loads(pickle.dumps(dataset))


def test_unknown_names_and_options_suggest_the_right_ones(root):
    with pytest.raises(DataError, match="unknown data set 'caltech-101'.*mean 'caltech101'.*ucf"):
        datasets.load("caltech-101")
    with pytest.raises(DataError, match="option of the data set dtd: 'domain'.*Available: root"):
        datasets.load("dtd", root, domain="noto")
    with pytest.raises(DataError, match="option of the data set dtd: 'domain'"):
        datasets.load("dtd:noto", root)
    with pytest.raises(DataError, match="unknown source of data 'coup'.*Did you mean 'coop'"):
        datasets.load("dtd", root, source="coup")


def test_an_own_template_needs_one_slot(root):
    assert datasets.load("dtd", root, template="{}!").template == "{}!"
    with pytest.raises(DataError, match=r"dtd: template='none' must contain \"\{\}\" once"):
        datasets.load("dtd", root, template="none")


def test_missing_data_shows_the_expected_layout(root):
    with pytest.raises(DataError, match="root is not set"):
        datasets.load("dtd")
    with pytest.raises(DataError, match="nowhere is not a directory"):
        datasets.load("dtd", root / "nowhere")
    with pytest.raises(DataError) as error:
        datasets.load("food101", root)
    message = str(error.value)
    assert str(root / "food-101" / "split_zhou_Food101.json") in message
    assert "<root>/\n    food-101/\n      images/" in message
    (root / "dtd/images").rename(root / "dtd/photos")
    with pytest.raises(DataError, match="no image directory"):
        datasets.load("dtd", root)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot read the split file"),
        ({"train": []}, "train, val, test"),
        ({"train": [["a.jpg", "0", "x"]], "val": [], "test": []}, r"train\[0\].*\"0\""),
        ({"train": [["a.jpg", 1, "x"]], "val": [], "test": []}, "labels 0 to 0.*renumber"),
        ({"train": [["a", 0, "x"], ["b", 0, "y"]], "val": [], "test": []}, "called both"),
        ({"train": [], "val": [], "test": []}, "no examples"),
        (
            {"train": [["a", 0, "a_b"], ["b", 1, "a b"]], "val": [], "test": []},
            "'a b' and 'a b', make the same prompt",
        ),
        ({"train": [["a", 0, "_"]], "val": [], "test": []}, "label 0 has an empty class name"),
        ({"train": [["a", True, "x"]], "val": [], "test": []}, r"train\[0\].*true"),
        ({"train": [["a", 1.0, "x"]], "val": [], "test": []}, r"train\[0\].*1\.0"),
        ({"train": [["a", -1, "x"]], "val": [], "test": []}, "labels 0 to 0.*renumber"),
        ({"train": [], "val": [["/etc/a.jpg", 0, "x"]], "test": []}, r"val\[0\].*inside the image"),
        ({"train": [], "val": [], "test": [["a/../../b", 0, "x"]]}, r"test\[0\].*without \"\.\.\""),
        ({"train": [["", 0, "x"]], "val": [], "test": []}, "not empty"),
        (
            {"train": [["a\udcff.jpg", 0, "x"]], "val": [], "test": []},
            "which is not valid Unicode; rename",
        ),
    ],
)
def test_malformed_splits_are_rejected(root, content, message):
    rewrite(root, content)
    with pytest.raises(DataError, match=message):
        datasets.load("dtd", root)


def test_a_split_file_may_have_a_byte_order_mark_but_must_be_utf8(root):
    path = root / "dtd" / SPLIT
    text = path.read_bytes()
    path.write_bytes(b"\xef\xbb\xbf" + text)
    assert len(datasets.load("dtd", root).train) == 4
    path.write_bytes(text.replace(b"banded", b"band\xe9"))
    with pytest.raises(DataError, match="cannot read the split file .*not UTF-8.*save it as UTF-8"):
        datasets.load("dtd", root)


def test_names_with_spaces_and_commas_and_linked_images(root):
    images = root / "dtd/images"
    (images / "a, b").mkdir()
    (images / "a, b/c, d.jpg").symlink_to(images / "banded/0.jpg")
    (images / "a, b/gone.jpg").symlink_to(images / "nowhere.jpg")
    entries = [["a, b/c, d.jpg", 0, "a, b"], ["a, b/gone.jpg", 0, "a, b"]]
    rewrite(root, {"train": entries, "val": [], "test": []})
    dataset = datasets.load("dtd", root)
    assert dataset.class_names == ("a, b",)
    assert dataset.read(dataset.train[0]).size == (20, 16)
    with pytest.raises(DataError, match="1 of 2 images are missing.*\n  a, b/gone.jpg"):
        readers.check_files(dataset, dataset.train)


def test_messages_about_undecodable_file_names_can_be_printed():
    name = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")
    bad = BadImage(name, "no such file")
    assert bad.image == name
    for message in (str(bad), str(DataError(f"missing: {name}"))):
        assert "caf\\udce9.jpg" in message and message.encode("utf-8")


def test_labels_with_a_gap_are_rejected():
    examples = [Example("a", 0, "x"), Example("b", 2, "y")]
    with pytest.raises(DataError, match="1 are missing.*0 to 2"):
        class_names("mine", examples)


def test_missing_images_are_listed_only_for_the_used_examples(root):
    dataset = datasets.load("dtd", root)
    (root / "dtd/images/banded/3.jpg").unlink()
    readers.check_files(dataset, dataset.train)
    with pytest.raises(DataError, match=r"1 of 2 images are missing.*\n  banded/3.jpg"):
        readers.check_files(dataset, dataset.test)
    many = [Example(f"none/{i}.jpg", 0, "x") for i in range(25)]
    with pytest.raises(DataError, match="25 of 25.*\n(.*\n)+  … and 15 more"):
        readers.check_files(dataset, many)


def palette_with_transparency():
    image = Image.new("RGBA", (8, 8), (200, 10, 10, 128)).quantize(4)
    image.info["transparency"] = bytes([128, 0, 0, 0])
    return image


@pytest.mark.parametrize(
    ("name", "image", "expected"),
    [
        ("grey.png", Image.new("L", (8, 8), 90), (90, 90, 90)),
        ("cmyk.jpg", Image.new("CMYK", (8, 8), (0, 255, 255, 0)), (255, 0, 0)),
        ("alpha.png", Image.new("RGBA", (8, 8), (10, 200, 30, 0)), (10, 200, 30)),
        ("palette.png", palette_with_transparency(), (200, 10, 10)),
        ("image.webp", Image.new("RGB", (8, 8), (0, 0, 255)), (0, 0, 255)),
    ],
)
def test_every_color_mode_becomes_rgb(tmp_path, name, image, expected):
    image.save(tmp_path / name)
    result = readers.open_image(tmp_path / name)
    assert result.mode == "RGB"
    np.testing.assert_allclose(np.asarray(result)[4, 4], expected, atol=6)


def test_exif_rotation_is_ignored(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20)).save(tmp_path / "turned.jpg", exif=exif)
    assert readers.open_image(tmp_path / "turned.jpg").size == (30, 20)


def damage(root):
    """Damages three of the eight images: truncated, missing, not an image."""
    cut = root / "dtd/images/banded/0.jpg"
    cut.write_bytes(cut.read_bytes()[:-200])
    (root / "dtd/images/polka_dot/0.jpg").unlink()
    (root / "dtd/images/polka_dot/1.jpg").write_text("<html>Not found</html>")


def test_bad_images_are_found_and_excluded(root):
    dataset = datasets.load("dtd", root)
    damage(root)
    good, bad = readers.drop_bad(dataset, dataset.train)
    assert [example.image for example in good] == ["banded/1.jpg"]
    reasons = {path.split("images/")[1]: reason for path, reason in bad}
    assert "truncated" in reasons["banded/0.jpg"].lower()
    assert reasons["polka_dot/0.jpg"] == "no such file"
    assert "not an image" in reasons["polka_dot/1.jpg"]
    assert readers.drop_bad(dataset, dataset.test) == (dataset.test, [])


def test_the_error_that_stops_a_run_lists_every_bad_image(root):
    dataset = datasets.load("dtd", root)
    damage(root)
    with pytest.raises(BadImage) as first:
        dataset.read(dataset.train[0])
    error = readers.all_bad_error(dataset, dataset.train, first.value)
    assert "3 of 4 images cannot be read" in str(error) and "on_bad_image=skip" in str(error)
    assert all(name in str(error) for name in ("banded/0", "polka_dot/0", "polka_dot/1"))
    copy = pickle.loads(pickle.dumps(first.value))
    assert (copy.image, copy.reason) == (first.value.image, first.value.reason)


def test_the_cache_returns_the_same_pixels_within_its_bound():
    reads = []

    def read(example):
        reads.append(example.image)
        return Image.new("RGB", (10, 10), (example.label, 0, 0))

    examples = tuple(Example(str(i), i, str(i)) for i in range(3))
    dataset = Dataset("plain", "{}", examples, (), (), read)
    cached = readers.CachedReader(dataset.read, max_bytes=2 * 400)
    for _ in range(2):
        assert [cached(example).getpixel((5, 5))[0] for example in examples] == [0, 1, 2]
    assert reads == ["0", "1", "2", "2"] and cached.store.bytes_used == 800


def test_emoji_scenes_load_without_files_and_splits_share_no_scenes():
    options = {"num_classes": 4, "train_per_class": 3, "val_per_class": 1, "test_per_class": 2}
    dataset = datasets.load("emoji_scenes", **options)
    assert len(set(dataset.class_names)) == 4
    keys = [e.image for e in (*dataset.train, *dataset.val, *dataset.test)]
    assert len(keys) == len(set(keys)) == 4 * 6
    first = np.asarray(dataset.read(dataset.train[0]))
    assert first.shape == (48, 48, 3)
    np.testing.assert_array_equal(first, np.asarray(dataset.read(dataset.train[0])))
    assert not np.array_equal(first, np.asarray(dataset.read(dataset.test[0])))


def test_emoji_scenes_reject_invalid_settings():
    with pytest.raises(DataError, match="unknown domain of emoji_scenes 'nto'"):
        datasets.load("emoji_scenes", domain="nto")
    with pytest.raises(DataError, match="num_classes=0: must be from 1"):
        datasets.load("emoji_scenes", num_classes=0)

"""Directories, contents and broken images as inputs of `fit`; its recipe and its progress."""

import io
import re

import numpy as np
import pytest
from PIL import Image
from tiny import save_clip

import prompt_jax as pj
from experiments.configs import recipes as configs
from prompt_jax.cli import progress
from prompt_jax.errors import BadImage, PromptError
from prompt_jax.inputs import class_folders
from prompt_jax.inputs.preparation import Inputs
from prompt_jax.methods import METHODS, outside
from prompt_jax.models import shots
from prompt_jax.training import features, recipes

OPTIONS = {"epochs": 2, "batch_size": 2, "settings": {"context_length": 2, "context_words": ""}}
PIXELS = np.random.default_rng(0).integers(0, 256, (4, 40, 48, 3), np.uint8)
LABELS = ["a cat", "a cat", "dog", "dog"]


def encoded(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    return pj.load(save_clip(tmp_path_factory.mktemp("clip")))


@pytest.fixture(scope="module")
def trained(bare):
    """Returns CoOp's prompts, trained on arrays."""
    return pj.fit("coop", bare, PIXELS, LABELS, **OPTIONS).prompts["context"]


@pytest.fixture
def folder(tmp_path):
    for number, (name, pixels) in enumerate(zip(LABELS, PIXELS, strict=True)):
        place = tmp_path / "pets" / name
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.png").write_bytes(encoded(pixels))
    return tmp_path / "pets"


def test_a_directory_and_contents_train_as_arrays(bare, folder, trained):
    found = pj.fit("coop", bare, folder, **OPTIONS)
    np.testing.assert_array_equal(found.prompts["context"], trained)
    assert found.class_names == ("a cat", "dog")
    opened = [io.BytesIO(encoded(pixels)) for pixels in PIXELS]
    other = pj.fit("coop", bare, opened, LABELS, **OPTIONS)
    np.testing.assert_array_equal(other.prompts["context"], trained)
    assert other.trained["config"]["pictures"] == found.trained["config"]["pictures"]


def test_broken_images_are_left_out_on_request(bare, trained):
    given = [b"", *PIXELS[:3], "gone.jpg", PIXELS[3], PIXELS[0] / 255]
    labels = ["dog", *LABELS[:3], "dog", LABELS[3], "dog"]
    reported = []
    found = pj.fit("coop", bare, given, labels, on_error=reported.append, **OPTIONS)
    np.testing.assert_array_equal(found.prompts["context"], trained)
    assert [bad.image for bad in reported] == ["#0", "gone.jpg", "#6"]
    with pytest.raises(BadImage, match="#0: no bytes"):
        pj.fit("coop", bare, given, labels, **OPTIONS)


def test_all_unreadable_files_are_named_before_the_training(bare, folder):
    paths = sorted(folder.glob("*/*.png"))
    for path in paths[1:]:
        path.write_bytes(b"no image")
    options = {**OPTIONS, "epochs": 10**9}  # the training would never end
    with pytest.raises(BadImage) as raised:
        pj.fit("coop", bare, paths, ["a cat", *["dog"] * (len(paths) - 1)], **options)
    assert raised.value.image == str(paths[1])
    others = ", ".join(map(str, paths[2:]))
    assert f"; nor can {len(paths) - 2} of the others: {others}; on_error" in str(raised.value)


def test_a_missing_directory_and_a_wrong_on_error_are_named(bare, tmp_path):
    with pytest.raises(PromptError, match="nope: no such file or directory"):
        pj.fit("gda", bare, tmp_path / "nope")
    with pytest.raises(PromptError, match="on_error='skip' must be a function"):
        pj.fit("coop", bare, PIXELS, LABELS, on_error="skip", **OPTIONS)


def test_directories_are_read_by_class(folder):
    (folder / "empty").mkdir()
    (folder / "dog" / "notes.txt").touch()
    paths, labels, notes = class_folders.read(str(folder), videos=False)
    assert labels == LABELS and [path.rpartition("/")[2] for path in paths] == [
        f"{number}.png" for number in range(4)
    ]
    assert "'empty' has no images; this class is left out" in notes[0]
    assert notes[1].endswith("left out, no suffix of images: 1 .txt")
    paths, labels, _ = class_folders.read(str(folder), videos=True)
    assert paths == [str(folder / "a cat"), str(folder / "dog")] and labels == ["a cat", "dog"]
    with pytest.raises(PromptError, match=r"has no directories; name one .* for each class, or"):
        class_folders.read(str(folder / "dog"), videos=False)
    for name in ("train", "test"):
        (folder / "split" / name).mkdir(parents=True)
    with pytest.raises(PromptError, match=r"has the splits test, train; name that .*split/train"):
        class_folders.read(str(folder / "split"), videos=False)


def test_names_of_directories_have_spaces_for_underscores(folder):
    inputs = Inputs.of(16)
    (folder / "a cat").rename(folder / "a_cat")
    assert shots.read_folder(str(folder), inputs, True)[1] == LABELS
    (folder / "a cat").mkdir()
    (folder / "a cat" / "0.png").write_bytes(encoded(PIXELS[0]))
    with pytest.raises(PromptError, match="'a cat' and 'a_cat' name the same class; rename"):
        shots.read_folder(str(folder), inputs, True)


def test_cached_views_run_the_image_tower_once(bare, trained, monkeypatch):
    computed = []
    run = features.FeatureMaker.run

    def counting(self, *arguments):
        rows, labels = run(self, *arguments)
        computed.append(len(rows))
        return rows, labels

    monkeypatch.setattr(features.FeatureMaker, "run", counting)
    monkeypatch.setattr(shots.Shots, "batches", None)  # new crops in every epoch
    model = pj.fit("coop", bare, PIXELS, LABELS, cached_views=3, **OPTIONS)
    assert computed == [3 * len(PIXELS)] and model.trained["config"]["cached_views"] == 3
    assert not np.array_equal(model.prompts["context"], trained)


@pytest.mark.parametrize(
    ("name", "views", "words"),
    [
        ("maple", 3, "the prompts of maple change the image features"),
        ("gda", 0, "gda is computed from the training images' features; use at least 1"),
        ("coop", -1, "cached_views=-1 must be a whole number, 0 or more"),
        ("coop", True, "cached_views=True must be a whole number"),
    ],
)
def test_cached_views_that_do_not_fit_are_rejected(name, views, words):
    with pytest.raises(PromptError, match=words):
        recipes.choose(name, METHODS[name], None, {}, views)


def test_a_method_from_outside_starts_from_another_recipe(monkeypatch):
    name = "prompt_jax.methods.images.kgcoop:METHOD"
    outside.load(name)
    found = recipes.choose(name, METHODS["kgcoop"], "coop", {"epochs": 7}, None)
    assert found == recipes.find("coop").but(epochs=7, settings={})
    config = configs.get_config(f"{name}:coop", "few_shot")
    assert config.method == name and config.epochs_by_shots[-1][1] == 200
    assert config.settings.context_words == "a photo of a"  # its own
    assert configs.get_config(name, "few_shot").epochs == 5
    with pytest.raises(PromptError, match="unknown method .*'cop'. Did you mean 'coop'"):
        recipes.choose(name, METHODS["kgcoop"], "cop", {}, None)
    with pytest.raises(PromptError, match="unknown method .*'cop'. Did you mean 'coop'"):
        configs.get_config(f"{name}:cop", "few_shot")


def test_the_time_to_compile_is_no_part_of_the_time_left(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    advance = progress._lines("training", 101)
    for done, seconds, words in ((1, 40.0, "with compiling"), (2, 42.0, ""), (11, 60.0, "loss 1")):
        now[0] = seconds
        advance(done, words)
    printed = capsys.readouterr().err.splitlines()
    assert printed == [
        "training 1/101, 40 s  with compiling",
        "training 11/101, 60 s, 180 s left  loss 1",
    ]


def test_the_first_step_is_shown_by_itself(bare, monkeypatch, capsys):
    monkeypatch.setattr(progress, "SECONDS_BEFORE_FIRST", 0.0)
    monkeypatch.setattr("prompt_jax.training.compile_times.LARGE", 0)
    pj.fit("coop", bare, PIXELS, LABELS, **OPTIONS)
    printed = capsys.readouterr().err
    assert re.search(r"^compiling for CPU", printed, re.MULTILINE)
    assert re.search(r"training coop 1/4, \d+ s  the first step, with compiling\n", printed)
    assert re.search(r"training coop 4/4, \d+ s, 0 s left  loss ", printed)

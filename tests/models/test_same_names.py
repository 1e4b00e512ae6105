"""Two classes with one name, as in ImageNet, are distinguished by label."""

import csv
import json

import numpy as np
import pytest
import tiny
from PIL import Image

import prompt_jax as pj
from experiments.run import experiment
from prompt_jax.errors import PromptError
from prompt_jax.models import saved
from prompt_jax.storage.files import seal
from prompt_jax.text.labels import number_labels

WNIDS = {"n03773504": "missile", "n04008634": "missile", "n04356056": "sunglasses"}
COLORS = {"n03773504": (230, 20, 20), "n04008634": (20, 20, 230), "n04356056": (230, 130, 20)}


def save_images(folder, wnid, number):
    folder.mkdir(parents=True)
    rng = np.random.default_rng(number)
    for i in range(number):
        noise = rng.integers(-20, 20, (40, 40, 3))
        pixels = np.clip(np.array(COLORS[wnid]) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Trains gda on a small ImageNet and tests it on ImageNet-R, which has one of the missiles."""
    root = tmp_path_factory.mktemp("imagenet")
    lines = "".join(f"{wnid} {name}\n" for wnid, name in WNIDS.items())
    for wnid in WNIDS:
        save_images(root / "imagenet/images/train" / wnid, wnid, 4)
        save_images(root / "imagenet/images/val" / wnid, wnid, 5)
    (root / "imagenet/classnames.txt").write_text(lines)
    for wnid in ("n03773504", "n04356056"):
        save_images(root / "imagenet-rendition/imagenet-r" / wnid, wnid, 6)
    config = tiny.small_config("gda", tiny.save_clip(root / "clip"), root)
    config.protocol, config.cached_views, config.data.shots = "domain_generalization", 1, 4
    config.data.name, config.data.names, config.data.root = "imagenet", "imagenet_r", str(root)
    config.settings.alpha = 100.0
    folder = root / "run"
    return folder, experiment.run(config, folder), root


def test_both_keep_their_shots_and_are_matched_by_their_ids(run):
    folder, results, _ = run
    assert results["accuracy"] == {"imagenet": 100.0, "imagenet_r": 100.0}
    kept = json.loads((folder / "model.json").read_text())
    assert kept["class_ids"] == list(WNIDS) and kept["class_names"] == list(WNIDS.values())
    with (folder / "confusion-imagenet.csv").open() as file:
        rows = list(csv.DictReader(file))
    expected = ["missile (label 0)", "missile (label 1)", "sunglasses"]
    assert [row["class"] for row in rows] == [row["predicted"] for row in rows] == expected


def test_predict_answers_with_both_names_and_their_labels(run):
    folder, _, root = run
    model = pj.load(folder)
    images = [root / f"imagenet/images/val/{wnid}/0.png" for wnid in WNIDS]
    found = model.predict(images)
    assert found.labels.tolist() == [0, 1, 2]
    assert [one.classes[0] for one in found] == [
        "missile (label 0)",
        "missile (label 1)",
        "sunglasses",
    ]
    assert [one.labels[0] for one in found] == [0, 1, 2]
    # The same classes in another order: the first missile is the first.
    other = model.predict(images, ["Sunglasses", "missile", "MISSILE"])
    np.testing.assert_allclose(other.probabilities, found.probabilities[:, [2, 0, 1]], atol=1e-6)


def test_one_name_for_two_trained_classes_is_rejected(run):
    folder, _, root = run
    image = root / "imagenet/images/val/n04356056/0.png"
    with pytest.raises(PromptError, match="'missile' is ambiguous: several training classes"):
        pj.load(folder).predict(image, ["missile", "sunglasses"])
    with pytest.raises(PromptError, match="'missile' and 'Missile' make the same prompt"):
        pj.load(folder).predict(image, ["missile", "missile", "Missile"])


def test_repeated_names_are_separate_classes_of_a_bare_clip_and_in_training():
    images = np.random.default_rng(0).integers(0, 256, (3, 60, 60, 3), np.uint8)
    names = ["missile", "sunglasses", "missile"]
    bare = pj.load("embedded")
    with pytest.warns(UserWarning, match="2 classes are called 'missile'.*distinguished by label"):
        found = bare.zero_shot(names).predict(images)
    probabilities = found.probabilities
    np.testing.assert_allclose(probabilities[:, 0], probabilities[:, 2], rtol=1e-6)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    with pytest.warns(UserWarning, match="2 classes are called 'missile'"):
        labels, known = number_labels([0, 1, 2], names, 3)
    assert (labels.tolist(), known) == ([0, 1, 2], tuple(names))
    with pytest.raises(PromptError, match="'missile' and 'missile' make the same prompt"):
        number_labels(["missile", "sunglasses", "missile"], names, 3)


def test_models_without_ids_open(run, tmp_path):
    folder, _, _ = run
    content = json.loads((folder / "model.json").read_text())
    del content["class_ids"], content["digest"]
    (tmp_path / "model.json").write_text(json.dumps(seal(content)))
    (tmp_path / "prompts.safetensors").write_bytes((folder / "prompts.safetensors").read_bytes())
    assert saved.read(tmp_path).class_ids == ()

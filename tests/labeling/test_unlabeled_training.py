"""Training without labels: runs of the `unlabeled` protocol, and `fit` without labels."""

import dataclasses
import json

import jax
import numpy as np
import pytest
import tiny
from PIL import Image
from reference import FOLDER, largest_difference
from safetensors.numpy import save_file

import prompt_jax as pj
from experiments.configs import recipes
from experiments.run import experiment
from prompt_jax.clip import CLIP
from prompt_jax.errors import PromptError
from prompt_jax.models import saved
from prompt_jax.training import labeling
from prompt_jax.vit import ViT


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Returns the directory of a tiny CLIP, a data set, a second backbone and sentences."""
    folder = tmp_path_factory.mktemp("unlabeled")
    tiny.save_clip(folder / "clip")
    tiny.save_caltech101(folder / "data")
    with np.load(FOLDER / "dino.npz") as arrays:
        state = {name: np.asarray(arrays[name], np.float32) for name in arrays}
    save_file(state, folder / "dino.safetensors")
    names = [name.replace("_", " ") for name in tiny.CLASSES]
    texts = {name: [f"{name} from afar", f"a drawing of {name}"] for name in names}
    (folder / "texts.json").write_text(json.dumps(texts))
    return folder


def config_of(files, method="nola", protocol="unlabeled"):
    c = recipes.get_config(method, protocol)
    c.backbone, c.data.name, c.data.root = str(files / "clip"), "caltech101", str(files / "data")
    c.batch_size, c.epochs, c.eval_batch_size = 4, 2, 4
    if method == "nola":
        c.texts, c.second_backbone = str(files / "texts.json"), str(files / "dino.safetensors")
        c.settings.vision_prompts, c.settings.labeling_epochs, c.settings.least = 2, 2, 1
    return c


def test_run_trains_resumes_predicts_and_records_its_second_backbone(files, tmp_path, capsys):
    c = config_of(files)
    results = experiment.run(c, tmp_path / "run")
    again = experiment.run(c, tmp_path / "run")
    assert again["accuracy"] == results["accuracy"]
    assert "already finished" in capsys.readouterr().out
    assert results["shots"] == 0
    assert results["second_backbone"]["hash"] == "3f8926d2da4dd9dd"
    notes = " ".join(results["data_notes"])
    assert "labels by a network" in notes
    assert "exact GELU" in notes
    assert "second_backbone" in saved.read(tmp_path / "run").trained["config"]
    image = files / "data/caltech-101/101_ObjectCategories/pagoda/image_0000.jpg"
    [found] = pj.load(tmp_path / "run").predict([image])
    assert found
    c.second_backbone = "embedded"
    with pytest.raises(PromptError, match="holds another run|images of"):
        experiment.run(c, tmp_path / "run")


def test_labels_of_training_images_change_nothing(files, tmp_path):
    c = config_of(files)
    experiment.run(c, tmp_path / "one")
    path = files / "data" / "caltech-101" / tiny.SPLIT
    before = path.read_text()
    split = json.loads(before)
    kinds = {image: (label, name) for image, label, name in split["train"]}
    images = [image for image, _, _ in split["train"]]
    rolled = [kinds[image] for image in images[1:] + images[:1]]
    split["train"] = [[image, *kind] for image, kind in zip(images, rolled, strict=True)]
    try:
        path.write_text(json.dumps(split))
        experiment.run(c, tmp_path / "other")
    finally:
        path.write_text(before)
    prompts = [saved.read(tmp_path / name).prompts for name in ("one", "other")]
    assert largest_difference(*prompts) == 0


def test_fit_without_labels_equals_the_run(files, tmp_path, capsys):
    c = config_of(files)
    experiment.run(c, tmp_path / "run")
    split = json.loads((files / "data" / "caltech-101" / tiny.SPLIT).read_text())
    folder = files / "data" / "caltech-101" / "101_ObjectCategories"
    options = {
        "names": [name.replace("_", " ") for name in tiny.CLASSES],
        "template": c.data.template or "a photo of a {}.",
        "settings": {"vision_prompts": 2, "labeling_epochs": 2, "least": 1},
        "epochs": 2,
        "batch_size": 4,
        "texts": str(files / "texts.json"),
        "second_backbone": files / "dino.safetensors",
    }
    images = [folder / image for image, _, _ in split["train"]]
    model = pj.fit("nola", str(files / "clip"), images, None, **options)
    assert "labels by a network" in capsys.readouterr().out
    assert largest_difference(model.prompts, saved.read(tmp_path / "run").prompts) <= 1e-6
    model.save(tmp_path / "model")
    there, here = (one.predict(images[:2]) for one in (pj.load(tmp_path / "model"), model))
    assert np.abs(there.probabilities - here.probabilities).max() <= 1e-6
    for labels, changed, message in (
        ([0] * len(images), {}, "labels the images itself: pass labels=None"),
        (None, {"names": None}, "the names of all classes"),
    ):
        with pytest.raises(PromptError, match=message):
            pj.fit("nola", str(files / "clip"), images, labels, **{**options, **changed})


def test_fit_with_labels_rejects_none_and_a_second_backbone(files):
    images = [Image.new("RGB", (32, 32), color) for color in ("red", "blue")]
    with pytest.raises(PromptError, match="labels=None: coop trains on labels"):
        pj.fit("coop", str(files / "clip"), images, None, ["red", "blue"])
    with pytest.raises(PromptError, match="coop uses no second backbone"):
        pj.fit("coop", str(files / "clip"), images, [0, 1], ["red", "blue"], second_backbone="x")


@pytest.mark.parametrize(
    ("method", "protocol", "changed", "message"),
    [
        ("nola", "few_shot", {}, "trains on images without their labels; use --config.protocol"),
        ("coop", "unlabeled", {}, "coop trains on labels, which this protocol withholds"),
        ("coop", "few_shot", {"second_backbone": "x.pth"}, "coop uses no second backbone"),
        ("nola", "unlabeled", {"second_backbone": "x.pth"}, "config.second_backbone: x.pth: no"),
    ],
)
def test_contradictions_are_rejected(files, tmp_path, method, protocol, changed, message):
    c = config_of(files, method, "unlabeled" if method == "nola" else "few_shot")
    c.protocol = protocol
    c.update(changed)
    with pytest.raises(PromptError, match=message):
        experiment.run(c, tmp_path / "run")
    assert not (tmp_path / "run" / "results.json").exists()


def test_zero_shot_runs_without_labels(files, tmp_path):
    results = experiment.run(config_of(files, "zero_shot"), tmp_path / "run")
    assert results["accuracy"] == results["zero_shot"]


def test_stand_in_is_the_embedded_tower_and_says_so():
    clip = CLIP(labeling.clip_loading.load("embedded")[0], scan_layers=True)
    second = labeling.read_second("embedded", clip)
    assert isinstance(second.tower, CLIP)
    assert second.tower.scan_layers
    assert "stand-in" in second.notes[0]
    images = np.zeros((1, clip.config.image_size, clip.config.image_size, 3), np.float32)
    assert second.tower.encode_image(second.frozen, images).shape == (1, clip.config.embed_dim)


def test_a_second_backbone_of_another_image_size_is_rejected(files):
    clip = CLIP(dataclasses.replace(tiny.CONFIG, image_size=64))
    with pytest.raises(PromptError, match="takes images of 32 x 32 pixels, and the backbone 64"):
        labeling.read_second(files / "dino.safetensors", clip)
    second = labeling.read_second(files / "dino.safetensors", CLIP(tiny.CONFIG))
    assert isinstance(second.tower, ViT)
    assert jax.tree.leaves(second.frozen)

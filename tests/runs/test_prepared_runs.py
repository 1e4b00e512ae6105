"""The image preprocessing of a run applies to training, tests, and every use of its model."""

import dataclasses
import importlib.util
import json
import shutil

import flax.traverse_util
import huggingface_hub
import needs_torch  # noqa: F401
import numpy as np
import pyarrow.parquet as pq
import pytest
import tiny
import torch
from PIL import Image

import prompt_jax as pj
from data_pipelines.examples import Dataset, Example
from experiments import evaluate
from experiments.config.config import read
from experiments.configs import default
from experiments.report.sections import attention
from experiments.run import evaluating, experiment, reopening
from experiments.setup import building
from experiments.setup.batches import make_batches
from prompt_jax import predict
from prompt_jax.clip import loading, saving
from prompt_jax.clip.checkpoints import preprocessing, preprocessing_files
from prompt_jax.errors import PromptError
from prompt_jax.export import __main__ as export
from prompt_jax.inputs import preparation
from prompt_jax.inputs.images.preprocessing import CLIP, Preprocessing
from prompt_jax.inputs.preparation import Inputs
from prompt_jax.models import saved

HALF = Preprocessing((0.5,) * 3, (0.5,) * 3)
SQUASHED = {"mean": 0.5, "std": 0.5, "resize_mode": "squash", "interpolation": "bilinear"}
PREPARED = Preprocessing((0.5,) * 3, (0.5,) * 3, "squash", 0, "bilinear")


def save_rewritten(folder):
    """Writes the tiny CLIP for images normalized by 0.5 and 0.5.

    Its features are unchanged: the first convolution is rescaled, and the shift by the mean is
    added to the positions.
    """
    flat = dict(flax.traverse_util.flatten_dict(tiny.frozen_parameters(), sep="/"))
    mean, std = (np.array(each)[:, None] for each in (CLIP.mean, CLIP.std))
    kernel = flat["image/patch_embedding/kernel"].astype(np.float64)
    flat["image/patch_embedding/kernel"] = (kernel * 0.5 / std).astype(np.float32)
    added = (kernel * (0.5 - mean) / std).sum((0, 1, 2)).astype(np.float32)
    positions = flat["image/position_embedding"].copy()
    positions[1:] += added
    flat["image/position_embedding"] = positions
    frozen = flax.traverse_util.unflatten_dict(flat, sep="/")
    saving.save_hugging_face(tiny.CONFIG, frozen, folder)
    return folder


def write_processor(folder, **fields):
    """Writes a preprocessor_config.json beside the weights."""
    (folder / preprocessing_files.HUGGING_FACE).write_text(json.dumps(fields))
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Writes JPEGs of four classes, stored rotated except for the first of each class."""
    folder = tiny.save_caltech101(tmp_path_factory.mktemp("data"))
    for number, path in enumerate(sorted(folder.rglob("*.jpg"))):
        if number % 6:
            exif = Image.Exif()
            exif[0x0112] = 6
            with Image.open(path) as image:
                image.load()
            image.save(path, exif=exif, quality=95)
    return folder


@pytest.fixture(scope="module")
def squashed(tmp_path_factory):
    """Writes the tiny CLIP with a preprocess_cfg of open_clip."""
    folder = tiny.save_clip(tmp_path_factory.mktemp("squashed"))
    config = {"preprocess_cfg": SQUASHED}
    (folder / preprocessing_files.OPEN_CLIP).write_text(json.dumps(config))
    return folder


def config_of(clip, root=None, method="coop", **data):
    config = tiny.small_config(method, clip, root)
    config.protocol, config.epochs = "few_shot", 1
    for field, value in data.items():
        config.data[field] = value
    return config


def probabilities(folder):
    return np.array(pq.read_table(folder / "predictions-test.parquet")["probabilities"].to_pylist())


def test_a_rewritten_clip_has_the_same_predictions(tmp_path):
    plain = tmp_path / "plain"
    saving.save_hugging_face(tiny.CONFIG, tiny.frozen_parameters(), plain)
    half = write_processor(
        save_rewritten(tmp_path / "half"), image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    silent = save_rewritten(tmp_path / "silent")
    runs = {"plain": config_of(plain), "half": config_of(half)}
    runs["silent"] = config_of(silent, stats="half")
    for name, config in runs.items():
        experiment.run(config, tmp_path / "runs" / name)
    found = {name: probabilities(tmp_path / "runs" / name) for name in runs}
    for name in ("half", "silent"):  # trained and tested on the same images
        np.testing.assert_allclose(found[name], found["plain"], atol=2e-3)
        assert saved.read(tmp_path / "runs" / name).inputs.stats == "half"
    experiment.run(config_of(silent), tmp_path / "runs" / "unsaid")
    assert np.abs(probabilities(tmp_path / "runs" / "unsaid") - found["plain"]).max() > 0.01


def test_every_use_of_a_run_prepares_images_as_in_the_run(squashed, root, tmp_path, capsys):
    folder = tmp_path / "run"
    results = experiment.run(config_of(squashed, root), folder)
    message = "note: image preprocessing from open_clip_config.json: squashed to 32 × 32 (bilinear)"
    assert message in capsys.readouterr().out
    assert sum(note.startswith("image preprocessing") for note in results["data_notes"]) == 1
    assert results["preprocessing"] == {
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
        "resize": "squash",
        "interpolation": "bilinear",
    }
    model = saved.read(folder)
    assert model.inputs == Inputs.of(32, PREPARED, upright=False)
    # Again: the same run; with another preprocessing: another one.
    assert experiment.run(config_of(squashed, root), folder) == results
    with pytest.raises(PromptError, match="holds another run .*preprocessing"):
        experiment.run(config_of(squashed, root, interpolation="bicubic"), folder)
    # predict
    rows = pq.read_table(folder / "predictions-test.parquet").to_pylist()
    images = root / "caltech-101" / "101_ObjectCategories"
    paths = [images / row["path"] for row in rows]
    loaded = pj.load(folder)
    answers = loaded.predict(paths)
    for row, answer in zip(rows, answers, strict=True):
        assert list(answer.classes) == row["top5"]
        np.testing.assert_allclose(answer.probabilities, row["probabilities"], atol=1e-5)
    # reopened by report, features and iterations
    run = reopening.reopen(folder)
    assert run.plan.batches.inputs.preprocessing == PREPARED
    assert attention.show(loaded.preprocess(paths[0]), PREPARED).size == (224, 224)
    # evaluated
    paths_made, failed = evaluate.evaluate(
        [folder], ["caltech101"], {"data.root": str(root), "data.num_threads": 0}, None
    )
    assert not failed
    evaluated = json.loads(paths_made[0].read_text())
    assert evaluated["accuracy"]["caltech101"] == results["accuracy"]["test"]
    assert evaluated["seen"]["preprocessing.resize"] == "squash"
    assert evaluating.prepared(evaluated, run.config) == PREPARED
    # exported
    export.start([str(folder), "--output", str(tmp_path / "export"), "--with-backbone"])
    spec = importlib.util.spec_from_file_location("exported", tmp_path / "export" / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    exported = module.load(tmp_path / "export", tmp_path / "export" / "clip")
    seen = torch.stack([exported.preprocess(path) for path in paths]).permute(0, 2, 3, 1).numpy()
    assert (seen == np.stack([loaded.preprocess(path) for path in paths])).all()
    clip = pj.load(tmp_path / "export" / "clip")
    assert clip.inputs.preprocessing == dataclasses.replace(PREPARED, middle="floored")


@pytest.mark.parametrize("ignored", [False, True])
def test_predict_rotates_images_as_in_the_run(root, tmp_path, ignored, capsys):
    clip, folder = tiny.save_clip(tmp_path / "clip"), tmp_path / "run"
    images = root / "caltech-101" / "101_ObjectCategories"
    config = config_of(clip, name="folder", root=str(images), ignore_rotation=ignored)
    experiment.run(config, folder)
    inputs = saved.read(folder).inputs
    assert inputs == Inputs.of(32, upright=not ignored)
    rows = pq.read_table(folder / "predictions-test.parquet").to_pylist()
    paths = [str(images / row["path"]) for row in rows]
    for row, answer in zip(rows, pj.load(folder).predict(paths), strict=True):
        np.testing.assert_allclose(answer.probabilities, row["probabilities"], atol=1e-5)
    capsys.readouterr()
    assert predict.start([str(folder), *paths, "--format", "csv"]) == 0
    out, err = capsys.readouterr()
    assert ("have an EXIF orientation, which is ignored as in" in err) == ignored
    other = "upright" if ignored else "stored"
    assert predict.start([str(folder), *paths, "--format", "csv", "--rotation", other]) == 0
    assert capsys.readouterr().out != out
    # An evaluation on own images rotates them as in training.
    changes = {"data.root": str(images), "data.num_threads": 0}
    [written], failed = evaluate.evaluate([folder], ["folder"], changes, tmp_path / "out")
    assert not failed
    assert json.loads(written.read_text())["seen"]["data.ignore_rotation"] == ignored


def test_a_bare_clip_is_prepared_by_its_files_or_by_settings(squashed, tmp_path, capsys):
    assert pj.load(squashed).inputs == Inputs.of(32, PREPARED)
    assert "note: " in capsys.readouterr().err
    reported = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
    plain = tiny.save_clip(tmp_path / "plain")
    assert pj.load(plain).inputs == Inputs.of(32)
    assert pj.load(plain, prepare=reported).inputs == Inputs.of(32, HALF)
    assert pj.load(plain, prepare="half", frames=2).inputs.stats == "half"
    for wrong, words in (
        ("hlaf", "unknown stats 'hlaf'. Did you mean 'half'"),
        ({"sharpen": 1}, "unknown field of prepare 'sharpen'"),
        (3, "prepare=3 must be a name, a dict, or None"),
    ):
        with pytest.raises(PromptError, match=words):
            pj.load(plain, prepare=wrong)
    write_processor(plain, crop_size=224)
    with pytest.raises(PromptError, match="crop_size=224, but the weights take 32.*prepare="):
        pj.load(plain)
    trained = loading.read_preprocessing(plain / "model.safetensors", 32)
    assert trained.problems  # the files beside a weight file are read
    fitted = pj.fit(
        "coop",
        pj.load(squashed),
        np.zeros((4, 40, 30, 3), np.uint8),
        [0, 1, 0, 1],
        ["cat", "dog"],
        epochs=1,
    )
    assert fitted.inputs == Inputs.of(32, PREPARED)


@pytest.mark.parametrize("crop", ["clip", "vifi"])
@pytest.mark.parametrize("stats", ["", "half", "imagenet"])
def test_frames_of_videos_are_prepared_like_images(crop, stats):
    """Uses a single color, so that only the normalization has an effect."""
    config = default.get_config("vop", kind="videos")
    config.data.name, config.data.frames, config.data.crop = "emoji_clips", 2, crop
    config.data.stats, config.data.num_threads = stats, 0
    config.batch_size = config.eval_batch_size = 1
    message = preprocessing.Declared(
        {"mean": ((0.1, 0.2, 0.3), "a.json"), "std": ((0.5,) * 3, "a.json")}
    )
    prepared, notes = building.preprocessing.resolve(read(config), message, 32)
    clip = preparation.Frames([Image.new("RGB", (40, 60), (51, 102, 204))] * 3)
    examples = (Example("a", 0, "cat", ("a cat",)),)
    dataset = Dataset("emoji_clips", "{}", examples, (), examples, lambda _: clip, kind="videos")
    batches = make_batches(read(config), 32, "videos", prepared)
    means = {"half": (0.5,) * 3, "imagenet": (0.485, 0.456, 0.406), "": (0.1, 0.2, 0.3)}
    wins = {"half": 1, "imagenet": 2, "": 0}
    stds = {"half": (0.5,) * 3, "imagenet": (0.229, 0.224, 0.225), "": (0.5,) * 3}
    expected = (np.array([51, 102, 204]) / 255 - means[stats]) / stds[stats]
    for made in (batches.train(dataset), batches.test(dataset, examples)):
        image = next(made)["image"]
        assert image.shape == (1, 2, 32, 32, 3)
        np.testing.assert_allclose(image, np.broadcast_to(expected, image.shape), atol=1e-5)
    assert len([note for note in notes if "is set and overrides" in note]) == wins[stats]


def test_conflicting_settings_are_rejected():
    config = default.get_config("vop", kind="videos")
    config.data.name, config.data.frame_stats = "emoji_clips", "imagenet"
    assert building.preprocessing.choose(read(config).data)["mean"][0] == pytest.approx(0.485)
    config.data.stats = "half"
    with pytest.raises(PromptError, match="both set the statistics of frames"):
        building.preprocessing.choose(read(config).data)
    config = default.get_config()
    config.data.mean = (0.5, 0.5)
    with pytest.raises(PromptError, match=r"data: mean=\(0.5, 0.5\) and std=\(\): set both"):
        building.check(config)


@pytest.mark.parametrize("file", preprocessing_files.TRANSFORMERS)
def test_a_model_on_the_hub_uses_its_preprocessing_file(tmp_path, monkeypatch, file):
    there = tiny.save_clip(tmp_path / "there")
    half = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    nested = file == preprocessing_files.PROCESSOR
    (there / file).write_text(json.dumps({"image_processor": half} if nested else half))
    here = tmp_path / "here"
    here.mkdir()

    def snapshot_download(hub_id, allow_patterns):
        for path in there.iterdir():
            if path.name in allow_patterns:
                shutil.copy(path, here)
        return str(here)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert pj.load("lab/half").inputs.stats == "half"


def test_contradictory_inputs_are_rejected():
    with pytest.raises(PromptError, match="stats='half', but mean=.* are those of 'clip'"):
        Inputs(32, CLIP.mean, CLIP.std, "half")
    with pytest.raises(PromptError, match="stats='clip', but mean=.* none that have a name"):
        Inputs(32, (0.1, 0.2, 0.3), CLIP.std)

"""Runs, saved models and commands of a method that reads texts of classes."""

import json
import shutil

import numpy as np
import pytest
import tiny

import prompt_jax as pj
from data_pipelines import datasets
from experiments import evaluate
from experiments.cli import command_line
from experiments.run import experiment, reopening, sweep
from prompt_jax import predict
from prompt_jax.cli import commands
from prompt_jax.errors import PromptError
from prompt_jax.models import saved
from prompt_jax.text import text_files

TEXTS = {name: [f"{name} detail {part}" for part in "ab"] for name in tiny.CLASSES}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Returns the directory of the tiny CLIP."""
    return tiny.save_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Returns the tiny data set's root."""
    return tiny.save_caltech101(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """Returns the file of texts."""
    path = tmp_path_factory.mktemp("texts") / "own.json"
    path.write_text(json.dumps(TEXTS))
    return path


@pytest.fixture(scope="module")
def run(clip, root, texts, tmp_path_factory):
    """Returns the directory of a finished run and its results."""
    folder = tmp_path_factory.mktemp("results") / "run"
    return folder, experiment.run(config_of(clip, root, texts), folder)


def config_of(clip, root, texts, method="description"):
    config = tiny.small_config(method, clip, root)
    config.texts = str(texts)
    return config


def images(number=6):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (number, 40, 48, 3), np.uint8)


def test_a_run_records_its_texts_and_they_are_in_its_directory(run, texts):
    folder, results = run
    digest = text_files.read(texts, "classes").digest
    assert results["texts"] == {"file": str(texts), "digest": digest}
    model = saved.read(folder)
    assert model.texts.digest == digest and model.trained["config"]["texts"] == digest[:16]
    assert json.loads((folder / "model.json").read_text())["texts"] == digest
    assert json.loads((folder / "texts.json").read_text()) == {"kind": "classes", "texts": TEXTS}
    assert reopening.reopen(folder).task.texts == model.texts


def test_the_same_texts_at_another_place_are_the_same_run(run, clip, root, tmp_path, capsys):
    folder, results = run
    other = tmp_path / "moved.json"
    other.write_text(json.dumps(dict(reversed(TEXTS.items())), indent=2))
    assert experiment.run(config_of(clip, root, other), folder) == results
    assert "already finished" in capsys.readouterr().out


def test_other_texts_are_another_run(run, clip, root, tmp_path):
    other = tmp_path / "other.json"
    other.write_text(json.dumps(TEXTS | {"pagoda": ["a tower"]}))
    differs = (
        r"holds another run \(texts: \S*other.json \(\w{8}\) here, \S*own.json \(\w{8}\) there"
    )
    with pytest.raises(PromptError, match=differs):
        experiment.run(config_of(clip, root, other), run[0])


def test_texts_are_checked_once_before_a_sweep(clip, root, tmp_path, capsys):
    config = config_of(clip, root, tmp_path / "gone.json")
    config.seeds = (1, 2, 3)
    with pytest.raises(PromptError, match=r"^config.texts: texts .*gone.json cannot be read"):
        sweep.run(config, tmp_path / "runs")
    out = capsys.readouterr().out
    assert "1 of 3 runs" in out and "[1/" not in out  # none has begun


def test_a_method_that_reads_no_texts_refuses_them(clip, root, texts, tmp_path):
    with pytest.raises(PromptError, match=r"config.texts=.*coop reads no texts.*'embedded'"):
        experiment.run(config_of(clip, root, texts, "coop"), tmp_path / "run")


def test_missing_texts_stop_a_run_before_it_claims_its_directory(clip, root, tmp_path):
    path = tmp_path / "few.json"
    path.write_text(json.dumps({"Sea Horse": ["x"], "pagodas": ["y"]}))
    with pytest.raises(PromptError, match=r"no texts of 1 of 2 classes: 'pagoda' \(there: 'pag"):
        experiment.run(config_of(clip, root, path), tmp_path / "run")
    assert not list((tmp_path / "run").glob("*.json"))
    with pytest.raises(PromptError, match=r"config.texts: texts .*gone.json cannot be read"):
        experiment.run(config_of(clip, root, tmp_path / "gone.json"), tmp_path / "run")


def test_a_moved_model_predicts_with_its_own_texts_and_with_others(run, tmp_path):
    shutil.copytree(run[0], tmp_path / "moved")
    for file in (tmp_path / "moved").iterdir():
        if file.name not in (saved.MODEL, saved.PROMPTS, saved.TEXTS):
            shutil.rmtree(file) if file.is_dir() else file.unlink()
    model, shown = pj.load(tmp_path / "moved"), images()
    found = model.predict(shown)
    assert found.logits.shape == (1, 6, 2)
    # Classes that it was not trained on have texts in the file.
    both = model.predict(shown, classes=["GARFIELD", *model.class_names])
    np.testing.assert_allclose(both.logits[..., 1:], found.logits, atol=1e-4)
    with pytest.raises(
        PromptError, match=r"no texts of 1 of 2 classes: 'lynx'; pass a .* by texts=…"
    ):
        model.predict(shown, classes=["lynx", "pagoda"])
    new = model.predict(shown, classes=["lynx", "pagoda"], texts={"lynx": ["ears"], "pagoda": []})
    assert new.logits.shape == (1, 6, 2)
    assert not np.allclose(new.logits[..., 1], found.logits[..., 1])
    model.save(tmp_path / "again")
    again = pj.load(tmp_path / "again")
    assert again.class_texts == model.class_texts
    np.testing.assert_array_equal(again.predict(shown).logits, found.logits)


def test_changed_texts_are_refused(run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run[0], folder)
    text = (folder / saved.TEXTS).read_text()
    (folder / saved.TEXTS).write_text(text.replace("detail a", "detail z"))
    with pytest.raises(PromptError, match=r"texts.json is damaged, or belongs to another model"):
        pj.load(folder)
    (folder / saved.TEXTS).unlink()
    with pytest.raises(PromptError, match=r"texts.json cannot be read"):
        pj.load(folder)


def test_fit_takes_a_path_or_the_content(clip, texts, tmp_path):
    shown, labels = images(), [0, 1] * 3
    names = list(tiny.CLASSES[:2])
    one = pj.fit("description", clip, shown, labels, names, texts=texts)
    other = pj.fit("description", clip, shown, labels, names, texts=TEXTS)
    np.testing.assert_array_equal(one.predict(shown).logits, other.predict(shown).logits)
    one.save(tmp_path / "model")
    assert pj.load(tmp_path / "model").class_texts == other.class_texts
    with pytest.raises(PromptError, match=r"there are none: pass a file by texts="):
        pj.fit("description", clip, shown, labels, names)
    with pytest.raises(PromptError, match=r"coop reads no texts of classes; omit it"):
        pj.fit("coop", clip, shown, labels, names, texts=texts)


def test_the_prediction_command_takes_texts(run, root, tmp_path, capsys):
    image = str(root / "caltech-101" / "101_ObjectCategories" / "pagoda" / "image_0000.jpg")
    words = [str(run[0]), image, "--classes", "lynx,owl"]
    assert commands.explain(predict.start, words) == 2
    message = capsys.readouterr().err
    assert "no texts of 2 of 2 classes: 'lynx', 'owl'; pass a file" in message
    assert "by --texts" in message
    path = tmp_path / "new.json"
    path.write_text(json.dumps({"lynx": ["tufted ears"], "Owl": ["round eyes"]}))
    assert commands.explain(predict.start, [*words, "--texts", str(path)]) == 0
    assert "lynx" in capsys.readouterr().out


def test_an_evaluation_on_other_classes_takes_their_texts(run, tmp_path, capsys):
    words = [str(run[0]), "--config.data.names=emoji_scenes", "--config.data.num_classes=4"]
    words += ["--config.data.test_per_class=2", f"--out={tmp_path}"]
    assert command_line.explain(evaluate.start, words) == 2
    message = capsys.readouterr().err
    assert "of 4 classes" in message and "by --config.texts=…" in message
    names = datasets.load("emoji_scenes", num_classes=4, test_per_class=2).class_names
    path = tmp_path / "scenes.json"
    path.write_text(json.dumps({name: [f"{name} part"] for name in names}))
    assert command_line.explain(evaluate.start, [*words, f"--config.texts={path}"]) == 0
    [file] = tmp_path.glob("*/results.json")
    digest = text_files.read(path, "classes").digest
    assert json.loads(file.read_text())["seen"]["texts"] == digest[:16]

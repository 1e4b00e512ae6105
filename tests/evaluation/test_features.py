"""Features of a finished run's test videos, before and after training."""

import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
from PIL import Image

from experiments import features
from experiments.cli.command_line import explain
from experiments.configs import default
from experiments.run import experiment
from prompt_jax.errors import PromptError


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """Returns a copy of the tiny CLIP's directory, which tests may change."""
    return tiny.save_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def finished(clip, tmp_path_factory) -> Path:
    """Returns a run of three steps with a learning rate that changes the features."""
    c = default.get_config("vop", kind="videos", text_prompts=1, vision_prompts=2)
    c.backbone, c.protocol, c.data.name = str(clip), "few_shot", "emoji_clips"
    c.data.frames, c.data.shots, c.data.num_threads = 2, 1, 0
    c.data.train_per_class, c.data.test_per_class = 1, 2
    c.batch_size, c.eval_batch_size, c.epochs, c.learning_rate = 11, 33, 1, 1.0
    folder = tmp_path_factory.mktemp("runs") / "vop"
    experiment.run(c, folder)
    return folder


@pytest.fixture(scope="module")
def encoded(finished) -> features.Features:
    """Returns features of four classes."""
    found, _ = features.encode(finished, classes=4)
    return found


def test_videos_of_some_classes_are_encoded_before_and_after_training(encoded):
    assert [clip.name for clip in encoded.videos] == sorted(clip.name for clip in encoded.videos)
    assert len({clip.name for clip in encoded.videos}) == 4
    assert encoded.before.shape == encoded.after.shape == (8, tiny.CONFIG.embed_dim)
    np.testing.assert_allclose(np.linalg.norm(encoded.before, axis=1), 1, atol=1e-5)
    assert np.abs(encoded.after - encoded.before).max() > 1e-3


def test_features_after_training_use_the_checkpoint(finished, encoded, monkeypatch):
    """Tests that zero prompts in place of the restored ones give other features."""
    saved = tiny.prompts_of(finished)

    def check(run):
        prompts = trained(run)
        for name, array in prompts.items():
            np.testing.assert_array_equal(array, saved[f"['prompts']['{name}']"])
        return {name: np.zeros_like(array) for name, array in prompts.items()}

    trained = features.reopening.trained
    monkeypatch.setattr(features.reopening, "trained", check)
    found, _ = features.encode(finished, classes=4)
    np.testing.assert_array_equal(found.before, encoded.before)
    assert np.abs(found.after - encoded.after).max() > 1e-3


def test_a_finished_run_is_drawn_and_left_unchanged(finished, tmp_path, capsys):
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    out = tmp_path / "a.png"
    words = [str(finished), "--classes", "3", "--out", str(out)]
    assert explain(features.start, words) == 0
    output = capsys.readouterr().out
    assert "frozen CLIP: the nearest neighbor has the same class in " in output
    with Image.open(out) as image:
        assert np.asarray(image).std() > 1
    assert "vop" in out.with_suffix(".svg").read_text()
    assert {p: p.read_bytes() for p in finished.rglob("*") if p.is_file()} == before


def test_nearest_neighbors_of_the_same_class_are_counted():
    directions = np.array([[1, 0.1], [2, 0], [0, 1], [0.1, 3], [1, 1.1]])
    assert features.same_class_nearest(directions, [0, 0, 1, 1, 1]) == 100
    assert features.same_class_nearest(directions, [0, 0, 1, 1, 0]) == 80


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    with pytest.raises(PromptError, match=r"install it: .venv/bin/pip install -e '.\[tsne\]'"):
        features.embed(np.zeros((9, 2)))


@pytest.mark.parametrize(
    "options, message",
    [
        (["--classes", "1"], "--classes=1 must be at least 2"),
        (["--test", "tets"], "unknown test set of .* 'tets'. Did you mean 'test'"),
    ],
)
def test_user_errors_are_one_line(finished, capsys, options, message):
    assert explain(features.start, [str(finished), *options]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(message, error)


def test_a_directory_without_results_is_rejected(tmp_path):
    with pytest.raises(PromptError, match="holds no results.json of a finished run"):
        features.encode(tmp_path)


def test_a_run_without_its_checkpoint_is_rejected(finished, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    shutil.rmtree(folder / "checkpoints")
    with pytest.raises(PromptError, match="has no checkpoint of the last step"):
        features.encode(folder)
    assert not (folder / "checkpoints").exists()


def test_another_backbone_is_rejected(finished, clip):
    tiny.save_clip(clip, changed="text/block_0/fc/bias")
    try:
        with pytest.raises(PromptError, match="was run on another backbone"):
            features.encode(finished)
    finally:
        tiny.save_clip(clip)

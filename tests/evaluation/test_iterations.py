"""Predictions of a reopened run over its iterations."""

import numpy as np
import pytest
import tiny

from experiments import iterations
from experiments.configs.images import clip_adapter, pro_mpt
from experiments.iterations import Predictions
from experiments.run import experiment, reopening
from prompt_jax.errors import PromptError


def shrink(config, clip):
    """Returns a config of two steps on six classes of scenes."""
    config.backbone = str(clip)
    config.data.num_classes = 6
    config.data.train_per_class = config.data.test_per_class = 2
    config.data.num_threads = 0
    config.batch_size, config.epochs = 3, 1
    return config


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Returns directory and results of a run of ProMPT."""
    folder = tmp_path_factory.mktemp("run")
    config = shrink(pro_mpt.get_config(), tiny.save_clip(folder / "clip"))
    return folder / "run", experiment.run(config, folder / "run")


def test_a_reopened_run_gives_the_same_predictions(finished):
    folder, results = finished
    run = reopening.reopen(folder)
    prompts = reopening.trained(run)
    for key, expected in results["per_iteration"].items():
        right = iterations.predict(run, prompts, key).right
        np.testing.assert_allclose(100 * right.mean(axis=1), expected, rtol=1e-6)


def test_pages_and_images_are_written_and_the_run_is_unchanged(finished, tmp_path):
    folder, _ = finished
    before = sorted(path for path in folder.rglob("*"))
    iterations.start([str(folder), "--out", str(tmp_path)])
    text = (tmp_path / "iterations.md").read_text()
    assert "## base" in text and "## new" in text and "| p2 " in text
    assert sorted(path for path in folder.rglob("*")) == before


def test_each_iteration_is_compared_with_the_previous_one():
    labels = np.array([0, 0, 1])
    probabilities = np.array(
        [
            [[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]],
            [[0.7, 0.3], [0.6, 0.4], [0.7, 0.3]],
            [[0.4, 0.6], [0.6, 0.4], [0.3, 0.7]],
        ],
        np.float32,
    )
    predictions = Predictions(probabilities, labels)
    _, rows = iterations.count(predictions)
    assert [row[1:4] for row in rows] == [
        ("66.7", "", ""),
        ("66.7", "1", "1"),
        ("66.7", "1", "1"),
    ]
    assert rows[2][4:] == ("0.57", "0.63", "0.70")
    assert iterations.changed_most(predictions, corrected=True).tolist() == [2]
    assert iterations.changed_most(predictions, corrected=False).tolist() == [0]


def test_errors_on_runs_that_cannot_be_reopened(finished, tmp_path):
    folder, _ = finished
    with pytest.raises(PromptError, match="no results.json of a finished run"):
        reopening.reopen(tmp_path)
    config = shrink(clip_adapter.get_config(), folder.parent / "clip")
    experiment.run(config, tmp_path / "adapter")
    with pytest.raises(PromptError, match="clip_adapter has no iterations"):
        iterations.start([str(tmp_path / "adapter")])

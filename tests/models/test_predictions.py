"""The prediction for each test image, on disk and as counted by the evaluation."""

import jax.numpy as jnp
import numpy as np
import pyarrow.parquet as pq
import pytest
import tiny

from data_pipelines.examples import Example
from experiments.record.files import confusions, predictions
from experiments.run import experiment
from prompt_jax import methods
from prompt_jax.clip import CLIP
from prompt_jax.evaluation import evaluate, reliability
from prompt_jax.evaluation.evaluate import TopClasses
from prompt_jax.text import class_names

NAMES = ("a", "b", "c", "d", "e", "f", "g")


def evaluate_logits(scores, labels, views=1, size=2):
    """Evaluates a method whose logits are the images, float[iterations, n, K]."""
    method = methods.Method(
        object, None, lambda p, q, task, x: methods.Output(jnp.moveaxis(x, 1, 0))
    )
    trained, clip = jnp.arange(scores.shape[-1]), CLIP(tiny.CONFIG)
    task = methods.Task({}, None, trained, None, clip=clip, settings=None)
    rows = np.moveaxis(scores, 0, 1).astype(np.float32)
    batches = [
        {"image": jnp.asarray(rows[start : start + size]), "label": labels[start : start + size]}
        for start in range(0, len(rows), size)
    ]
    [found] = evaluate.Evaluator([method], views)([{}], [task], batches)
    return found


def softmax(scores):
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return shares / shares.sum(axis=-1, keepdims=True)


def test_the_most_probable_classes_are_those_of_the_softmax_without_padding():
    scores = np.random.default_rng(0).normal(size=(3, 6, 7)) * 4
    found = evaluate_logits(scores, np.array([0, 1, 2, 3, 4, -1])).top_classes
    assert found.labels.tolist() == [0, 1, 2, 3, 4]
    order = np.argsort(-scores[:, :5], axis=-1)[..., : evaluate.TOP]
    np.testing.assert_array_equal(found.classes, order)
    expected = np.take_along_axis(softmax(scores[:, :5]), order, axis=-1)
    np.testing.assert_allclose(found.probabilities, expected, rtol=1e-5)


def test_probabilities_of_several_views_are_averaged():
    scores = np.random.default_rng(1).normal(size=(1, 6, 4)) * 2
    found = evaluate_logits(scores, np.repeat([3, 1], 3), views=3, size=6).top_classes
    shares = softmax(scores).reshape(1, 2, 3, 4).mean(axis=2)
    assert found.labels.tolist() == [3, 1] and found.classes.shape == (1, 2, 4)
    expected = np.take_along_axis(shares, found.classes, axis=-1)
    np.testing.assert_allclose(found.probabilities, expected, rtol=1e-5)
    np.testing.assert_allclose(found.probabilities.sum(axis=-1), 1, rtol=1e-5)


def test_rows_are_read_as_written(tmp_path):
    examples = [Example("b\udcff.jpg", 1, "b"), Example("clip.mp4", 0, "a", span=(1.5, 2.5))]
    classes = np.array([[[1, 0], [1, 0]], [[0, 1], [0, 1]]], np.int32)
    shares = np.array([[[0.75, 0.25]] * 2, [[0.5, 0.5]] * 2], np.float32)
    path = tmp_path / predictions.predictions_file("caltech101:new")
    predictions.write(path, examples, NAMES, TopClasses(np.array([1, 0]), classes, shares))
    assert path.name == "predictions-caltech101-new.parquet"
    assert pq.read_table(path).to_pylist() == [
        {
            "path": "b\\udcff.jpg",
            "start": None,
            "end": None,
            "label": 1,
            "class": "b",
            "right": False,
            "top5": ["a", "b"],
            "probabilities": [0.5, 0.5],
            "top5_after_0": ["b", "a"],
            "probabilities_after_0": [0.75, 0.25],
        },
        {
            "path": "clip.mp4",
            "start": 1.5,
            "end": 2.5,
            "label": 0,
            "class": "a",
            "right": True,
            "top5": ["a", "b"],
            "probabilities": [0.5, 0.5],
            "top5_after_0": ["b", "a"],
            "probabilities_after_0": [0.75, 0.25],
        },
    ]
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_predictions_of_other_examples_are_not_written(tmp_path):
    found = TopClasses(np.array([1]), np.zeros((1, 1, 1), np.int32), np.ones((1, 1, 1), np.float32))
    with pytest.raises(ValueError, match="do not belong to these examples"):
        predictions.write(tmp_path / "a.parquet", [Example("a", 0, "a")], NAMES, found)


def test_classes_with_one_name_are_distinguished_by_label(tmp_path):
    names = class_names.distinct(["missile", "tench", "missile"])
    assert names == ["missile (label 0)", "tench", "missile (label 2)"]
    counts = np.array([[3, 0, 1], [0, 4, 0], [2, 0, 2]])
    confusions.write(tmp_path / confusions.confusion_file("test"), names, counts)
    found, problems = confusions.of_run(tmp_path, {"test": 75.0})
    assert not problems and found["test"].of_class("missile (label 2)") == 50


@pytest.mark.slow
def test_a_run_writes_the_predictions_that_its_figures_count(tmp_path):
    clip = tiny.save_clip(tmp_path / "clip")
    config = tiny.small_config("pro_mpt", clip, tiny.save_caltech101(tmp_path / "data"))
    config.settings.iterations, config.epochs, config.protocol = 2, 1, "few_shot"
    results = experiment.run(config, tmp_path / "run")
    table = pq.read_table(tmp_path / "run/predictions-test.parquet")
    rows = table.to_pylist()
    assert len(rows) == 12 and rows[0]["path"].endswith(".jpg")
    assert {row["class"] for row in rows} == {name.replace("_", " ") for name in tiny.CLASSES}
    for iteration, expected in enumerate(results["per_iteration"]["test"]):
        ending = "" if iteration == 2 else f"_after_{iteration}"
        right = [row["top5" + ending][0] == row["class"] for row in rows]
        assert 100 * np.mean(right) == pytest.approx(expected)
        shares = np.array([row["probabilities" + ending] for row in rows])
        np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)  # of four classes
        assert (np.diff(shares) <= 0).all()
    assert [row["right"] for row in rows] == right
    sure = np.array([row["probabilities"][0] for row in rows])
    expected = reliability.calibration_error(sure, np.array(right))
    assert results["calibration_error"]["test"] == pytest.approx(expected, abs=1e-4)
    assert results["confidence"]["test"] == pytest.approx(100 * sure.mean(), abs=1e-4)
    low, high = results["interval"]["test"]
    assert low <= results["accuracy"]["test"] <= high
    for line in results["class_accuracy"]["test"]:
        of_class = [row["right"] for row in rows if row["class"] == line["class"]]
        assert (line["examples"], line["accuracy"]) == (len(of_class), 100 * np.mean(of_class))
    assert len(results["class_accuracy"]["test"]) == len(tiny.CLASSES)

"""Temperatures that runs and `fit` choose on held-out images, and how models use them."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import tiny

import prompt_jax as pj
from experiments.run import choosing, experiment
from experiments.setup import loading, preparation
from prompt_jax.errors import PromptError
from prompt_jax.evaluation.confidence import softmax

LABELS = np.arange(8) % 2
PIXELS = np.random.default_rng(0).integers(0, 90, (8, 40, 48, 3), np.uint8)
IMAGES = PIXELS + (60 * LABELS[:, None, None, None]).astype(np.uint8)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return tiny.save_clip(tmp_path_factory.mktemp("clip"))


def run(clip, folder, method, root=None, **fields):
    config = tiny.small_config(method, clip, root)
    config.update({"protocol": "few_shot", "calibrate": True, **fields})
    config.data.shots = 2
    return experiment.run(config, folder)


def test_a_run_chooses_records_and_applies_it(clip, tmp_path):
    root = tiny.save_caltech101(tmp_path / "data")  # without validation images
    found = run(clip, tmp_path / "run", "gda", root, cached_views=1)
    tmp_path = tmp_path / "run"
    chosen = found["calibration"]
    assert chosen["by"] == "cross-validation over 8 shots in 2 folds"
    assert chosen["temperature"] != 1
    saved = json.loads((tmp_path / "model.json").read_text())
    assert saved["temperature"] == chosen["temperature"]
    assert saved["trained"]["calibration"] == chosen
    model = pj.load(tmp_path)
    assert model.temperature == chosen["temperature"]
    predicted = model.predict(list(IMAGES))
    expected = softmax(predicted.logits[-1] / chosen["temperature"])
    np.testing.assert_array_equal(predicted.probabilities, expected)
    assert (predicted.labels == predicted.logits[-1].argmax(axis=-1)).all()
    rows = pq.read_table(tmp_path / "predictions-test.parquet").to_pylist()
    sure = 100 * np.mean([row["probabilities"][0] for row in rows])
    assert found["confidence"]["test"] == pytest.approx(sure, rel=1e-5)


def test_the_choice_does_not_see_test_images(clip, tmp_path):
    found = run(clip, tmp_path / "a", "zero_shot")
    other = tiny.small_config("zero_shot", clip)
    other.update({"protocol": "few_shot", "calibrate": True})
    other.data.update({"shots": 2, "test_per_class": 1})
    assert experiment.run(other, tmp_path / "b")["calibration"] == found["calibration"]


def test_image_methods_classify_the_validation_images(clip, tmp_path):
    config = tiny.small_config("zero_shot", clip)
    config.update({"protocol": "few_shot", "calibrate": True})
    prepared = preparation.prepare(loading.load(config, tmp_path))
    logits, labels = choosing._validation_logits(prepared, {})
    val = prepared.plan.train.val
    assert labels.tolist() == [one.label for one in val] and len(val) == 12
    images = [prepared.plan.train.read(one) for one in val]
    names = prepared.plan.train.class_names
    expected = pj.load(clip).zero_shot(names, prepared.plan.train.template).predict(images)
    np.testing.assert_allclose(logits, expected.logits[-1], atol=1e-4)


def test_a_protocol_without_labels_is_refused(clip, tmp_path):
    with pytest.raises(PromptError, match="config.calibrate=True: config.protocol=unlabeled has"):
        run(clip, tmp_path, "zero_shot", protocol="unlabeled")


def test_fit_calibrates_where_shots_are_held_out_anyway(clip, tmp_path):
    model = pj.fit("gda", clip, list(IMAGES), LABELS, ["night", "noon"])
    assert model.trained["calibration"]["by"] == "cross-validation over 8 shots in 4 folds"
    assert model.temperature == model.trained["calibration"]["temperature"]
    again = pj.load(model.save(tmp_path / "model"))
    assert again.temperature == model.temperature
    np.testing.assert_array_equal(
        again.predict(list(IMAGES)).probabilities, model.predict(list(IMAGES)).probabilities
    )
    assert again.zero_shot(["a", "b"]).temperature == 1
    assert pj.fit("gda", clip, list(IMAGES), LABELS, ["a", "b"], calibrate=False).temperature == 1


def test_fit_trains_again_without_the_held_out_shots(clip, capsys):
    given = "coop", clip, list(IMAGES), LABELS, ["night", "noon"]
    options = {"epochs": 1, "settings": {"context_length": 2, "context_words": ""}}
    plain, model = pj.fit(*given, **options), pj.fit(*given, **options, calibrate=True)
    assert plain.temperature == 1 and "calibration" not in plain.trained
    assert model.trained["calibration"]["images"] == 2
    assert "2 shots that a second training did not see" in capsys.readouterr().out
    np.testing.assert_array_equal(plain.prompts["context"], model.prompts["context"])

"""Temperature scaling, thresholds and scores of unknown images."""

import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from prompt_jax import methods
from prompt_jax.clip import CLIP
from prompt_jax.errors import PromptError
from prompt_jax.evaluation import confidence, reliability
from prompt_jax.evaluation.predictions import Prediction, Predictions
from prompt_jax.methods.selection import HeldOut

LOGITS = np.array([[[4.0, 0.0, 0.0], [1.0, 0.9, 0.8], [np.nan] * 3]], np.float32)


def drawn(true_temperature, number=4000, classes=5):
    """Returns logits, and labels drawn from their softmax at a temperature."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(number, classes)) * 8
    shares = confidence.softmax(logits / true_temperature)
    labels = (shares.cumsum(axis=1) > rng.random((number, 1))).argmax(axis=1)
    return logits, labels


@pytest.mark.parametrize("true", [0.5, 1.0, 6.0])
def test_the_temperature_of_the_labels_is_found_and_calibrates(true):
    found = confidence.choose_temperature(*drawn(true), "shots")
    assert found.temperature == pytest.approx(true, rel=0.1)
    assert found.after < 2.5 and found.after <= found.before + 0.1
    assert found.images == 4000 and found.as_json()["by"] == "shots"


def test_it_is_the_minimum_of_the_smoothed_cross_entropy():
    logits, labels = drawn(3.0, number=30)
    chosen = confidence.choose_temperature(logits, labels, "").temperature
    target = np.full(logits.shape, 1 / 32 / 5)
    target[np.arange(30), labels] += 31 / 32

    def loss(temperature):
        return -(target * np.log(confidence.softmax(logits / temperature))).sum()

    assert loss(chosen) < min(loss(0.97 * chosen), loss(1.03 * chosen))


def test_calibrated_predictions_keep_the_temperature_one():
    found = confidence.choose_temperature(*drawn(1.0, number=60), "shots")
    assert found.temperature == 1 and found.before == found.after and found.images == 60
    assert str(found) == "temperature 1, which shots do not contradict"
    assert confidence.choose_temperature(*drawn(6.0, number=60), "shots").temperature > 2


def test_images_that_are_all_right_do_not_make_it_infinitely_sure():
    logits, labels = np.eye(3) * 2, np.arange(3)
    found = confidence.choose_temperature(logits, labels, "shots")
    assert 0.1 < found.temperature < 10


@pytest.mark.parametrize("shape", [(0, 3), (4, 1)])
def test_without_images_or_classes_it_is_one_and_says_so(shape):
    found = confidence.choose_temperature(np.zeros(shape), np.zeros(shape[0], int), "shots")
    assert found.temperature == 1 and "nothing is held out" in str(found)


def predictions(logits=LOGITS, **options):
    names = ("a", "b", "c")[: logits.shape[-1]]
    errors = {2: Exception()} if logits.shape[1] == 3 else {}
    for error in errors.values():
        error.reason = "no image"
    return Predictions(("x", "y", "z")[: logits.shape[1]], names, logits, 2, errors, **options)


def test_a_low_probability_is_none_of_these():
    found = predictions(threshold=0.5)
    assert found.none_of_these.tolist() == [False, True, False]
    assert found.labels.tolist() == [0, -1, -1]
    assert [one.none_of_these for one in found] == [False, True, False]
    lines = str(found).splitlines()
    assert lines[0].startswith("x: a 96.") and lines[1].startswith("y: none of these (a 36.")
    assert lines[2] == "z: no image"


def test_scores_are_those_of_the_logits_whatever_the_temperature():
    found = predictions(temperature=2.0, threshold=1.5, score="max_logit")
    assert found.scores("max_logit")[:2].tolist() == [4.0, 1.0]
    energy = np.log(np.exp(LOGITS[0, :2]).sum(axis=-1))
    np.testing.assert_allclose(found.scores("energy")[:2], energy, rtol=1e-5)
    np.testing.assert_allclose(found.scores()[0], confidence.softmax(LOGITS[0, 0] / 2).max())
    np.testing.assert_allclose(found.probabilities[:2].sum(axis=-1), 1, rtol=1e-5)
    assert found.labels.tolist() == [0, -1, -1]
    assert found[0].max_logit == 4.0 and found[0].energy == pytest.approx(energy[0], rel=1e-5)


def test_a_single_class_has_no_probability():
    logits, cosines = LOGITS[:, :2, :1], np.array([0.25, 0.2], np.float32)
    found = predictions(logits, similarities=cosines)
    assert [one.probabilities for one in found] == [(), ()] and found[0].iterations == ()
    assert str(found) == "x: a 0.250\ny: a 0.200"
    outside = predictions(logits, similarities=np.full(2, np.nan, np.float32))
    assert str(outside) == "x: a logit 4.000\ny: a logit 1.000"
    assert str(Prediction("x", ("a",), max_logit=1.0, none_of_these=True)) == (
        "x: none of these (a logit 1.000)"
    )


@pytest.mark.parametrize(
    ("threshold", "score", "classes", "message"),
    [
        (1.5, "probability", 3, "from 0 to 1; for a logit, pass score='max_logit'"),
        (float("nan"), "energy", 3, "must be finite"),
        (True, "energy", 3, "must be a number"),
        ("0.5", "probability", 3, "must be a number"),
        (0.5, "probability", 1, "a single class is always 1"),
        (None, "entropy", 3, "unknown score 'entropy'"),
    ],
)
def test_invalid_thresholds_are_refused(threshold, score, classes, message):
    with pytest.raises(PromptError, match=message):
        confidence.check_threshold(threshold, score, classes)
    confidence.check_threshold(-3.0, "energy", 1)


def test_the_calibration_errors_are_those_of_the_definition():
    logits, labels = drawn(4.0, number=200)
    found = confidence.choose_temperature(logits, labels, "")
    right = logits.argmax(axis=-1) == labels
    sure = confidence.softmax(logits / found.temperature).max(axis=-1)
    assert found.after == pytest.approx(reliability.calibration_error(sure, right))


def test_folds_are_classified_without_augmentation_and_with_the_chosen_settings():
    labels = np.array([0, 0, 1, 1])
    plain = np.array([[2.0, 0.0], [1.0, 0.0], [0.0, 4.0], [3.0, 0.0]], np.float32)
    method = methods.Method(
        object,
        None,
        lambda prompts, prepared, task, x: methods.Output((prompts["alpha"] * x)[None]),
        input="features",
    )
    trained, clip = jnp.arange(2), CLIP(tiny.CONFIG)
    task = methods.Task({}, None, trained, None, clip=clip, settings=None)
    noise = np.full((1, 2, 2), 9.0, np.float32)  # of augmented views
    folds = [HeldOut({"alpha": 0.5}, noise, labels[::2], "shots") for _ in range(2)]
    others = HeldOut({"alpha": 0.5}, noise, labels[:2])
    given = {"alpha": jnp.float32(2.0)}
    found = confidence.of_folds(method, task, given, [others, *folds], ["alpha"], plain, labels)
    order = [0, 2, 1, 3]  # by folds
    expected = confidence.choose_temperature(2 * plain[order], labels[order], "")
    assert found._replace(by="") == expected
    assert found.by == "cross-validation over 4 shots in 2 folds"

"""Methods that read texts of classes equal the published code in all their settings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import BATCH, CLASSES, FIGURES, FROZEN, TEXTS, TINY, largest_difference

from prompt_jax import methods
from prompt_jax.clip import tokenizer
from prompt_jax.errors import PromptError
from prompt_jax.methods.images import description, fudd, perception_clip
from prompt_jax.text import text_files


def logits_of(name, settings, texts, images=None):
    """Returns the logits float32[B, K] of a method without prompts."""
    method = methods.get(name)
    given = text_files.from_content(texts, method.texts)
    task = methods.make_task(method, TINY, FROZEN, CLASSES, settings, texts=given)

    def predict(task, images):
        seen = methods.encode_input(method, task, images)
        return method.forward({}, method.prepare({}, task), task, seen).logits[-1]

    return jax.jit(predict)(task, BATCH["image"] if images is None else images)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"full_stop": True}, "logits"),
        ({}, "logits_no_stop"),
        ({"full_stop": True, "aggregate": "max"}, "logits_max"),
        ({"full_stop": True, "aggregate": "sum"}, "logits_sum"),
    ],
)
def test_descriptions_equal_the_published_code(settings, expected):
    found = logits_of("description", description.Settings(**settings), TEXTS["description"])
    # The sum of five cosines of 100 has five times the rounding.
    assert largest_difference(found, FIGURES["description"][expected]) <= 1e-4


def test_the_texts_of_descriptions_are_the_published_ones():
    figures, texts = FIGURES["description"], TEXTS["description"]
    made = [
        description.describe(name, one, full_stop=True)
        for name in CLASSES
        for one in texts[name] or [""]
    ]
    ours = methods.make_task(
        methods.get("description"),
        TINY,
        FROZEN,
        CLASSES,
        description.Settings(full_stop=True, aggregate="max"),
        texts=text_files.from_content(texts, "classes"),
    ).constants
    assert largest_difference(ours.features, figures["text_features_norm"]) <= 1e-5
    assert ours.owner.tolist() == figures["text_class"].tolist()
    assert len(tokenizer.tokenize(made)) == len(figures["text_class"])


def test_sentences_are_averaged_and_normalized():
    found = logits_of("description", description.Settings(mode="cupl"), TEXTS["biomedcoop"])
    classifier = FIGURES["biomedcoop"]["average_features_norm"]
    image = FIGURES["zero_shot"]["logits"]  # only the shape
    assert found.shape == image.shape
    x = TINY.encode_image(FROZEN, BATCH["image"])
    x = x / jnp.linalg.norm(x, axis=-1, keepdims=True)
    assert largest_difference(found, 100 * np.asarray(x) @ classifier.T) <= 1e-4


def test_descriptions_as_sentences_give_the_renormalized_mean():
    texts = {
        name: [description.describe(name, one, full_stop=True) for one in ones or [""]]
        for name, ones in TEXTS["description"].items()
    }
    found = logits_of("description", description.Settings(mode="cupl"), texts)
    assert largest_difference(found, FIGURES["description"]["logits_renormalised"]) <= 1e-4


def test_settings_of_the_other_mode_are_rejected():
    with pytest.raises(PromptError, match=r"full_stop=True has no effect.*mode=cupl"):
        description.Settings(mode="cupl", full_stop=True)
    with pytest.raises(PromptError, match=r"templates=dataset has no effect"):
        description.Settings(templates="dataset")


FUDD = {"class_names": CLASSES, "prompt_pairs": TEXTS["fudd"]}


@pytest.mark.parametrize("shots", [False, True])
def test_fudd_equals_the_published_code(shots):
    figures = FIGURES["fudd"]
    prefix = "shots." if shots else ""
    images = jnp.asarray(FIGURES["inputs"]["shot_images"]) if shots else BATCH["image"]
    settings = fudd.Settings(ambiguous=int(figures["top_k"]), others="excluded")
    found = np.asarray(logits_of("fudd", settings, FUDD, images))
    expected, chosen = figures[f"{prefix}logits"], figures[f"{prefix}top_idx"]
    assert ((found == fudd.EXCLUDED) == np.isinf(expected)).all()
    assert largest_difference(found[np.isfinite(expected)], expected[np.isfinite(expected)]) <= 1e-4
    rows = np.arange(len(found))[:, None]
    assert largest_difference(found[rows, chosen], figures[f"{prefix}logits_top"]) <= 1e-4
    # The other classes follow in the order of zero-shot CLIP.
    ranked = np.asarray(logits_of("fudd", fudd.Settings(ambiguous=3), FUDD, images))
    assert largest_difference(ranked[rows, chosen], figures[f"{prefix}logits_top"]) <= 1e-4
    first = figures[f"{prefix}logits_first"]
    for row, new, old in zip(chosen, ranked, first, strict=True):
        others = np.delete(np.arange(len(CLASSES)), row)
        assert (np.argsort(new[others]) == np.argsort(old[others])).all()
        assert new[others].max() == pytest.approx(new[row].min() - 1, abs=1e-4)
        assert largest_difference(np.diff(new[others]), np.diff(old[others])) <= 1e-4


def test_fudd_in_one_step_equals_the_published_code():
    found = logits_of("fudd", fudd.Settings(ambiguous=0), FUDD)
    assert largest_difference(found, FIGURES["fudd"]["logits_all_classes"]) <= 1e-4


def test_fudd_gathers_text_features_in_parts(monkeypatch):
    whole = logits_of("fudd", fudd.Settings(ambiguous=3), FUDD)
    monkeypatch.setattr(fudd, "MOST_GATHERED", 1)
    assert largest_difference(logits_of("fudd", fudd.Settings(ambiguous=3), FUDD), whole) <= 1e-5


def test_the_texts_of_fudd_are_those_of_the_likely_classes_alone():
    # With two classes, only the texts of their pair count.
    method, pair = methods.get("fudd"), ["fire truck", "Boeing 737-800"]
    given = text_files.from_content(FUDD, "pairs")
    task = methods.make_task(method, TINY, FROZEN, pair, fudd.Settings(), texts=given)
    used = np.asarray(task.constants.against).sum(axis=(0, 1))
    assert used.tolist() == [2, 2] and task.constants.slots.shape == (2, 2)


def test_fudd_lists_classes_that_its_file_lacks():
    given = text_files.from_content(FUDD, "pairs")
    with pytest.raises(PromptError, match=r"no texts of 1 of 2 classes: 'fire trucks' \(there: 'f"):
        methods.make_task(
            methods.get("fudd"), TINY, FROZEN, ["fire trucks", "cat"], fudd.Settings(), texts=given
        )
    with pytest.raises(PromptError, match="ambiguous=1 must be at least 2"):
        fudd.Settings(ambiguous=1)


@pytest.mark.parametrize("inference", perception_clip.INFERENCES)
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_perception_clip_equals_the_published_code(inference, temperature):
    settings = perception_clip.Settings(inference=inference, temperature=temperature)
    logits = logits_of("perception_clip", settings, TEXTS["perception_clip"])
    figures = FIGURES["perception_clip"]
    expected = figures[f"probs_{inference}_t{temperature:g}"]
    assert largest_difference(jnp.exp(logits), expected) <= 1e-5
    if (inference, temperature) == ("with_y", 3.0):
        assert largest_difference(logits, figures["logits"]) <= 1e-4
    assert largest_difference(jnp.exp(logits).sum(axis=-1), np.ones(3)) <= 1e-5


def test_the_texts_of_perception_clip_are_the_published_ones():
    given = text_files.from_content(TEXTS["perception_clip"], "factors")
    settings = perception_clip.Settings(inference="without_y")
    method = methods.get("perception_clip")
    task = methods.make_task(method, TINY, FROZEN, CLASSES, settings, texts=given)
    figures = FIGURES["perception_clip"]
    assert largest_difference(task.constants.classes, figures["class_value_features_norm"]) <= 1e-5
    assert largest_difference(task.constants.values, figures["value_features_norm"]) <= 1e-5


def test_one_context_without_a_description_gives_zero_shot_clip():
    texts = {"main": "a photo of a {}", "factors": {"place": {"any": [""]}}}
    logits = logits_of("perception_clip", perception_clip.Settings(), texts)
    expected = jax.nn.log_softmax(jnp.asarray(FIGURES["zero_shot"]["logits"]), axis=-1)
    assert largest_difference(logits, expected.reshape(logits.shape)) <= 1e-4


def test_large_logits_do_not_overflow():
    # exp(100 · cos) of the published code exceeds float32 where cosines are near 1.
    texts = {"factors": {"place": {"any": [""], "indoor": ["indoors"]}}}
    frozen = FROZEN | {"logit_scale": jnp.log(jnp.float32(5000))}
    method = methods.get("perception_clip")
    given = text_files.from_content(texts, "factors")
    task = methods.make_task(
        method, TINY, frozen, CLASSES, perception_clip.Settings(temperature=0.01), texts=given
    )
    x = methods.encode_input(method, task, BATCH["image"])
    assert jnp.isfinite(method.forward({}, None, task, x).logits).all()


def test_factors_are_chosen_by_name():
    texts = text_files.from_content(TEXTS["perception_clip"], "factors")
    one = perception_clip.Settings(factors="quality")
    assert perception_clip.describe_contexts(texts, one) == [[""], ["bad", "poor"]]
    turned = perception_clip.Settings(factors="quality, background")
    assert "bad, outdoors in nature" in perception_clip.describe_contexts(texts, turned)[4]
    with pytest.raises(PromptError, match=r"unknown factor.*'qualty'.*Did you mean 'quality'"):
        perception_clip.describe_contexts(texts, perception_clip.Settings(factors="qualty"))
    with pytest.raises(PromptError, match="names quality twice"):
        twice = perception_clip.Settings(factors="quality,quality")
        perception_clip.describe_contexts(texts, twice)
    many = {name: {str(n): ["a", "b"] for n in range(9)} for name in "abcd"}
    with pytest.raises(PromptError, match=r"a \(18\), b \(18\).*104,976 texts per class"):
        perception_clip.describe_contexts(
            text_files.from_content({"factors": many}, "factors"), perception_clip.Settings()
        )

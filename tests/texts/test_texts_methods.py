"""Methods that read texts of classes equal the published code in all their settings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import BATCH, CLASSES, FIGURES, FROZEN, TEXTS, TINY, largest_difference

from prompt_jax import methods
from prompt_jax.clip import tokenizer
from prompt_jax.errors import PromptError
from prompt_jax.methods.images import description
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

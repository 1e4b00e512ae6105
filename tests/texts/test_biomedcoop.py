"""BiomedCoOp: its sentences, its teacher and the terms of its loss equal the published code's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import BATCH, CLASSES, FIGURES, FROZEN, TEXTS, TINY, largest_difference
from rows import BY_FIGURES, arrays, task_of

from prompt_jax import methods
from prompt_jax.clip import normalize
from prompt_jax.errors import PromptError
from prompt_jax.methods import UNSEEN
from prompt_jax.methods.images import biomedcoop
from prompt_jax.text import text_files
from prompt_jax.training import train

FIGURE, ROW = FIGURES["biomedcoop"], BY_FIGURES["biomedcoop"]
METHOD, SENTENCES = biomedcoop.METHOD, TEXTS["biomedcoop"]


@pytest.fixture(scope="module")
def task():
    return task_of(ROW)


@pytest.fixture(scope="module")
def prompts():
    return arrays(ROW, "param")


@pytest.fixture(scope="module")
def images():
    return normalize(jax.jit(TINY.encode_image)(FROZEN, BATCH["image"]))


def make(texts, names=CLASSES, trained=None, **settings):
    """Returns a task on classes with these texts."""
    given = None if texts is None else text_files.from_content(texts, "classes")
    chosen = biomedcoop.Settings(**settings)
    return methods.make_task(METHOD, TINY, FROZEN, names, chosen, trained=trained, texts=given)


def test_sentences_equal_the_published_code(task):
    assert largest_difference(task.constants.each, FIGURE["teacher_features_norm"]) <= 1e-5
    assert largest_difference(task.constants.mean, FIGURE["average_features_norm"]) <= 1e-5


def test_the_kept_sentences_and_the_teacher_equal_the_published_code(task, images):
    scores = biomedcoop.score(task, images, task.constants.each)
    assert largest_difference(scores, FIGURE["prompt_scores"]) <= 1e-4
    z = biomedcoop.standardize(scores)
    assert largest_difference(z, FIGURE["prompt_z"]) <= 1e-4
    mask = FIGURE["prompt_mask"].astype(bool)
    assert ((jnp.abs(z) <= FIGURE["tau"]) == mask).all() and 0 < mask.sum() < 6
    teacher = biomedcoop.teach(task, images, task.constants)
    assert largest_difference(teacher, FIGURE["teacher_logits"]) <= 1e-4
    kept = normalize(task.constants.each[mask].mean(axis=0))
    assert largest_difference(kept, FIGURE["selected_features_norm"]) <= 1e-5


def test_the_terms_of_the_loss_equal_the_published_code(task, prompts):
    _, output = train.loss_and_output(METHOD, prompts, task, BATCH)
    assert float(output.losses["consistency"]) == pytest.approx(float(FIGURE["sccm"]), abs=1e-5)
    assert float(output.losses["distillation"]) == pytest.approx(float(FIGURE["kdsp"]), abs=1e-5)


def test_equal_scores_and_a_single_sentence_keep_all_sentences(images):
    assert (biomedcoop.standardize(jnp.full(5, 0.3)) == 0).all()
    assert (biomedcoop.standardize(jnp.ones(1)) == 0).all()
    one = {name: [f"a sentence of {name}"] for name in CLASSES}
    twice = {name: texts * 3 for name, texts in one.items()}
    expected, equal = (make(texts) for texts in (one, twice))
    first, second = (biomedcoop.teach(task, images, task.constants) for task in (expected, equal))
    assert np.isfinite(first).all()
    assert largest_difference(first, second) <= 1e-4


def test_a_threshold_from_1_always_keeps_a_sentence():
    # Two equal groups are the scores farthest from their mean.
    z = biomedcoop.standardize(jnp.asarray([0.0, 0.0, 1.0, 1.0]))
    assert float(jnp.abs(z).min()) < 1
    with pytest.raises(PromptError, match=r"settings\.threshold=0\.9 must be at least 1"):
        biomedcoop.Settings(threshold=0.9)


def test_the_selection_depends_on_the_batch(task, images):
    whole = biomedcoop.teach(task, images, task.constants)
    alone = jnp.concatenate(
        [biomedcoop.teach(task, image[None], task.constants) for image in images]
    )
    assert largest_difference(whole, alone) > 1e-2


def test_a_prediction_needs_the_context_alone(task, prompts, images):
    names, trained = [*CLASSES[:2], "a new class"], [0, 1, UNSEEN]
    for texts in (None, SENTENCES):
        other = make(texts, names, trained)
        assert other.constants is None
        output = METHOD.forward(prompts, METHOD.prepare(prompts, other), other, images)
        assert not output.losses
        assert largest_difference(output.logits[0][:, :2], FIGURE["logits"][:, :2]) <= 1e-4


def test_training_classes_need_equally_many_sentences():
    with pytest.raises(PromptError, match="reads sentences or descriptions of each class"):
        make(None)
    fewer = {**SENTENCES, "cat": SENTENCES["cat"][:5]}
    with pytest.raises(PromptError, match="5 sentences of class 'cat' and 6 of class 'fire truck'"):
        make(fewer)
    with pytest.raises(PromptError, match="has no sentences of the classes"):
        make({name: [] for name in SENTENCES})
    with pytest.raises(PromptError, match="no texts of 1 of 6 classes: 'cat'"):
        make({name: texts for name, texts in SENTENCES.items() if name != "cat"})


@pytest.mark.parametrize("name", ["consistency_weight", "distillation_weight"])
def test_a_weight_of_0_removes_its_term_alone(name, prompts):
    other = make(SENTENCES, **{name: 0.0})
    _, output = train.loss_and_output(METHOD, prompts, other, BATCH)
    left = {key for key, value in output.losses.items() if float(value)}
    assert left == {"consistency", "distillation"} - {name.removesuffix("_weight")}

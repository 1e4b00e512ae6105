"""Methods computed from the shots' features: Tip-Adapter, Tip-Adapter-F and GDA."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from reference import (
    BATCH,
    CLASSES,
    FIGURES,
    FROZEN,
    TINY,
    largest_difference,
    relative_difference,
)
from sklearn import discriminant_analysis

from prompt_jax import methods
from prompt_jax.clip import normalize
from prompt_jax.errors import PromptError
from prompt_jax.methods import UNSEEN, selection
from prompt_jax.methods.images import gda, tip_adapter, zero_shot
from prompt_jax.methods.selection import HeldOut
from prompt_jax.training import optim, train

pytestmark = pytest.mark.slow
TIP, GDA = FIGURES["tip_adapter"], FIGURES["gda"]
LABELS = FIGURES["inputs"]["shot_labels"]


@pytest.fixture(scope="module")
def shots():
    """Returns features float[1, 12, d] of the twelve shots, one view each."""
    images = jnp.asarray(FIGURES["inputs"]["shot_images"])
    return jax.jit(TINY.encode_image)(FROZEN, images)[None]


@pytest.fixture(scope="module")
def features():
    """Returns features float[3, d] of the batch."""
    return jax.jit(TINY.encode_image)(FROZEN, BATCH["image"])


@functools.cache
def make(name, names=tuple(CLASSES), trained=None, **settings):
    """Returns a method and its task on class names."""
    method = methods.get(name)
    chosen = method.Settings(**settings)
    return method, methods.make_task(method, TINY, FROZEN, names, chosen, trained=trained)


def logits_of(method, prompts, task, features):
    """Returns logits float[B, K]."""
    return method.forward(prompts, prepare(method, prompts, task), task, features).logits[-1]


@functools.partial(jax.jit, static_argnums=0)
def prepare(method, prompts, task):
    """Runs the method's `prepare`, compiled."""
    return method.prepare(prompts, task)


def some_features(number, seed=0, width=32):
    """Returns features float[number, width], not normalized."""
    return jax.random.normal(jax.random.key(seed), (number, width))


def test_tip_adapter_equals_the_published_code(shots, features):
    method, task = make("tip_adapter")
    prompts = method.adaptation.make(method.init(None, task), task, shots, LABELS)
    assert largest_difference(prompts["keys"], TIP["cache_keys"]) <= 1e-6
    assert largest_difference(logits_of(method, prompts, task, features), TIP["logits"]) <= 1e-4
    assert not any(jax.tree.leaves(method.trains(prompts, task.settings)))


def test_three_steps_of_tip_adapter_f_equal_the_published_code(shots, features):
    method, task = make("tip_adapter_f")
    prompts = start = method.adaptation.make({}, task, shots, LABELS)
    optimizer = optim.adamw(1e-3, method.trains(prompts, task.settings), epsilon=1e-4)
    batch = {"image": features, "label": BATCH["label"]}
    gradients = jax.grad(lambda p: train.loss_and_output(method, p, task, batch)[0])(prompts)
    assert relative_difference(gradients["keys"], TIP["f.grad.cache_keys"]) <= 1e-4
    state = optimizer.init(prompts)
    run = jax.jit(jax.value_and_grad(lambda p: train.loss_and_output(method, p, task, batch)[0]))
    for expected in TIP["f.adamw_losses"]:
        loss, gradients = run(prompts)
        assert float(loss) == pytest.approx(expected, abs=5e-5)
        updates, state = optimizer.update(gradients, state, prompts)
        prompts = optax.apply_updates(prompts, updates)
    moved = prompts["keys"] - start["keys"]
    assert relative_difference(moved, TIP["f.adamw3.cache_keys"] - TIP["cache_keys"]) <= 1e-3
    for name in ("labels", "alpha", "beta"):
        assert (prompts[name] == start[name]).all()


def test_keys_are_the_normalized_mean_over_views():
    method, task = make("tip_adapter")
    views = some_features(24).reshape(2, 12, 32)
    keys = method.adaptation.make({}, task, views, LABELS)["keys"]
    assert largest_difference(keys, normalize(views[0] + views[1])) <= 1e-6


@pytest.mark.parametrize("name", ["tip_adapter", "gda"])
def test_zero_weight_of_the_cache_equals_zero_shot(name, shots, features):
    method, task = make(name, alpha=0.0)
    prompts = method.adaptation.make({}, task, shots, LABELS)
    plain, plain_task = make("zero_shot")
    assert isinstance(plain_task.settings, zero_shot.Settings)
    expected = logits_of(plain, {}, plain_task, features)
    assert (logits_of(method, prompts, task, features) == expected).all()


def test_the_search_of_alpha_and_beta_equals_a_double_loop(shots):
    method, task = make("tip_adapter", alpha_steps=3, beta_steps=4, alpha_max=30.0)
    prompts = method.adaptation.make({}, task, shots, LABELS)
    # Between the shots and noise, so that the grid's values differ in hits.
    noisy = shots[0].repeat(4, axis=0) + 0.5 * some_features(48)
    labels = LABELS.repeat(4)
    betas, alphas = 0.1 + 6.9 / 4 * np.arange(4), 0.1 + 29.9 / 3 * np.arange(3)
    hits = np.zeros((4, 3))
    for i, beta in enumerate(betas):
        for j, alpha in enumerate(alphas):
            tried = {**prompts, "alpha": alpha, "beta": beta}
            predicted = jnp.argmax(logits_of(method, tried, task, noisy), axis=-1)
            hits[i, j] = int(jnp.sum(predicted == labels))
    row, column = selection.best(hits)
    assert len(np.unique(hits)) > 2 and (row, column) != (0, 0)
    tuned, choice = method.adaptation.choose(prompts, task, [HeldOut(prompts, noisy[None], labels)])
    found = float(tuned["alpha"]), float(tuned["beta"])
    assert found == pytest.approx((alphas[column], betas[row]), rel=1e-6)
    assert choice.accuracy == pytest.approx(100 * hits / 48)
    assert tuned["keys"] is prompts["keys"]


def test_the_published_grid_starts_at_a_tenth_and_excludes_its_end():
    values = tip_adapter.grid(7.0, 200)
    assert float(values[0]) == pytest.approx(0.1)
    assert float(values[-1]) == pytest.approx(0.1 + 199 * 6.9 / 200)


@pytest.mark.parametrize("name", ["tip_adapter", "tip_adapter_f", "gda"])
def test_a_given_setting_is_kept(name, shots):
    given = {"alpha": 0.7} | ({} if name == "gda" else {"beta": 2.0})
    method, task = make(name, **given)
    prompts = method.adaptation.make({}, task, shots, LABELS)
    tuned, choice = method.adaptation.choose(prompts, task, [HeldOut(prompts, shots, LABELS)])
    assert choice is None
    assert {key: float(tuned[key]) for key in given} == pytest.approx(given)


def test_if_one_of_two_settings_is_given_only_the_other_is_searched(shots):
    method, task = make("tip_adapter", alpha=0.7, beta_steps=5)
    prompts = method.adaptation.make({}, task, shots, LABELS)
    tuned, choice = method.adaptation.choose(prompts, task, [HeldOut(prompts, shots, LABELS)])
    assert float(tuned["alpha"]) == pytest.approx(0.7)
    assert list(choice.grid) == ["beta"] and choice.accuracy.shape == (5,)


@pytest.mark.parametrize(
    "name, published", [("tip_adapter", {"alpha": 1.0, "beta": 5.5}), ("gda", {"alpha": 1.0})]
)
def test_without_held_out_images_the_default_is_used_with_a_note(name, published, shots):
    method, task = make(name)
    prompts = method.adaptation.make({}, task, shots, LABELS)
    tuned, choice = method.adaptation.choose(prompts, task, [])
    assert {key: float(tuned[key]) for key in published} == published == choice.values
    assert "default: there are no validation images" in str(choice)
    assert "grid" not in choice.as_json()


@pytest.mark.parametrize("name", ["tip_adapter", "gda"])
def test_classes_are_matched_by_the_names_they_were_trained_with(name, shots, features):
    method, task = make(name)
    prompts = method.adaptation.make({}, task, shots, LABELS)
    _, part = make(name, (CLASSES[4], CLASSES[1]), (4, 1))
    expected = logits_of(method, prompts, task, features)[:, jnp.asarray([4, 1])]
    if name == "gda":  # the prior is one over the number of classes
        expected += prompts["alpha"] * np.log(6 / 2)
    assert largest_difference(logits_of(method, prompts, part, features), expected) <= 1e-4


def test_the_cache_has_no_votes_for_a_class_without_shots(shots, features):
    method, task = make("tip_adapter", (CLASSES[0], CLASSES[1]), (UNSEEN, 1))
    prompts = method.adaptation.make({}, task, shots, LABELS)
    votes = tip_adapter.votes(prompts, task, normalize(features), 5.5)
    assert (votes[:, 0] == 0).all() and (votes[:, 1] > 0).all()


def test_gda_equals_the_published_code(shots, features):
    method, task = make("gda")
    prompts = method.adaptation.make(method.init(None, task), task, shots, LABELS)
    centred = prompts["features"] - GDA["class_means"][LABELS]
    assert relative_difference(gda.shrunk_precision(centred), GDA["precision_matrix"]) <= 1e-5
    weights, bias = prepare(method, prompts, task)
    assert relative_difference(weights, GDA["W"]) <= 1e-5
    assert relative_difference(bias, GDA["b"]) <= 1e-5
    assert largest_difference(list(gda.ALPHAS), list(GDA["alphas"])) <= 1e-6
    for alpha, expected in zip(GDA["alphas"], GDA["logits_all_alphas"], strict=True):
        output = method.forward({**prompts, "alpha": alpha}, (weights, bias), task, features)
        # Logits grow to 20,000 with alpha; the figures' own noise is 9e-5 at 1.
        assert largest_difference(output.logits[-1], expected) <= 3e-4 * max(1, alpha)


def test_gda_equals_shrunk_linear_discriminant_analysis():
    published = discriminant_analysis
    # (n - 1) Σ + tr(Σ) I is, up to a factor, (1 - s) Σ + s tr(Σ)/d I with s = d / (n - 1 + d).
    shots, width = 5, 32
    samples = normalize(some_features(6 * shots) + 2 * some_features(6, 1).repeat(shots, axis=0))
    labels = np.arange(6).repeat(shots)
    method, task = make("gda")
    prompts = method.adaptation.make({}, task, samples[None], labels)
    weights, bias = prepare(method, prompts, task)
    number = len(labels)
    shrinkage = width / (number - 1 + width)
    theirs = published.LinearDiscriminantAnalysis(
        solver="lsqr", shrinkage=shrinkage, priors=np.ones(6) / 6
    )
    theirs.fit(np.asarray(samples, np.float64), labels)
    factor = width * (1 - shrinkage) / number
    assert relative_difference(weights, factor * theirs.coef_.T) <= 1e-4
    bias_without_prior = theirs.intercept_ + np.log(6)
    assert relative_difference(bias + np.log(6), factor * bias_without_prior) <= 1e-4


def test_gda_uses_neighbors_for_classes_without_shots(shots):
    method, task = make("gda", trained=(0, UNSEEN, 2, 3, UNSEEN, 5), neighbours=5, text_copies=3)
    prompts = method.adaptation.make({}, task, shots, LABELS)
    weights, bias = prepare(method, prompts, task)
    samples, texts = np.asarray(prompts["features"]), np.asarray(task.constants)
    means, precisions = [], []
    for text in texts[[1, 4]]:
        near = samples[np.argsort(-samples @ text)[:5]]
        means.append((near.sum(axis=0) + 3 * text) / 8)
        covariance = (near - text).T @ (near - text) / 4
        precisions.append(32 * np.linalg.pinv(4 * covariance + np.trace(covariance) * np.eye(32)))
    expected = np.stack(means) @ np.mean(precisions, axis=0)
    assert relative_difference(weights[:, [1, 4]].T, expected) <= 1e-4
    prior = np.log(1 / 6)
    assert bias[1] == pytest.approx(prior - expected[0] @ means[0] / 2, rel=1e-4)
    assert relative_difference(weights[:, [0, 2, 3, 5]], GDA["W"][:, [0, 2, 3, 5]]) <= 1e-5


def test_views_are_samples_and_one_sample_per_class_gives_zero_shot(shots, features):
    method, task = make("gda")
    prompts = method.adaptation.make({}, task, shots[:, ::2], LABELS[::2])
    weights, _ = prepare(method, prompts, task)
    assert (weights == 0).all()
    twice = method.adaptation.make({}, task, shots.repeat(2, axis=0), LABELS)
    assert twice["features"].shape == (24, 32)
    assert (twice["labels"] == np.tile(LABELS, 2)).all()


def test_gda_selects_the_alpha_with_the_most_hits(shots):
    method, task = make("gda")
    prompts = method.adaptation.make({}, task, shots, LABELS)
    # The shots are separated by their means, not by this random CLIP's text features.
    tuned, choice = method.adaptation.choose(prompts, task, [HeldOut(prompts, shots, LABELS)])
    tried = [logits_of(method, {**prompts, "alpha": a}, task, shots[0]) for a in gda.ALPHAS]
    hits = np.array([int(jnp.sum(jnp.argmax(one, axis=-1) == LABELS)) for one in tried])
    assert hits[0] < max(hits)
    assert float(tuned["alpha"]) == pytest.approx(gda.ALPHAS[selection.best(hits)[0]])
    record = choice.as_json()
    assert record["values"] == {"alpha": pytest.approx(float(tuned["alpha"]))}
    assert record["by"] == "12 validation images" and record["grid"]["alpha"] == list(gda.ALPHAS)
    assert record["accuracy"] == pytest.approx(100 * hits / 12, abs=0.01)


@pytest.mark.parametrize("name", ["tip_adapter", "gda"])
def test_without_validation_images_cross_validation_selects_the_weight(name):
    # Classes that the shots separate and the texts do not.
    method, task = make(name)
    centres = 3 * some_features(6, 1)
    labels = np.tile(np.arange(6), 4)
    views = np.asarray(some_features(2 * 24) + jnp.tile(centres, (8, 1))).reshape(2, 24, 32)
    held = selection.hold_out_shots(
        lambda features, labels: method.adaptation.make({}, task, features, labels), views, labels
    )
    made = method.adaptation.make({}, task, views, labels)
    prompts, choice = method.adaptation.choose(made, task, held)
    assert choice.by == "cross-validation over 24 shots in 4 folds"
    unseen = some_features(60, 7) + jnp.tile(centres, (10, 1))
    known = np.tile(np.arange(6), 10)

    def accuracy(made):
        return float(jnp.mean(jnp.argmax(logits_of(method, made, task, unseen), -1) == known))

    silent = {**prompts, "alpha": jnp.float32(0)}
    assert accuracy(prompts) > accuracy(silent) + 0.2


@pytest.mark.parametrize(
    "settings, wrong",
    [
        (tip_adapter.Settings, {"alpha": -2.0}),
        (tip_adapter.Settings, {"beta_max": 0.05}),
        (tip_adapter.Settings, {"alpha_steps": 0}),
        (tip_adapter.Settings, {"beta": math.nan}),
        (gda.Settings, {"alpha": -0.5}),
        (gda.Settings, {"neighbours": 0}),
        (zero_shot.Settings, {"templates": "imagnet"}),
    ],
)
def test_settings_out_of_range_are_rejected_by_name(settings, wrong):
    (name, value), *_ = wrong.items()
    with pytest.raises(PromptError, match=rf"settings\.{name}.*{value}"):
        settings(**wrong)

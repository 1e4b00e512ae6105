"""CapS-Adapter equals the published code, and finds the captions of images."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from reference import BATCH, CLASSES, FIGURES, FROZEN, TEXTS, TINY, largest_difference

import prompt_jax as pj
from prompt_jax import methods
from prompt_jax.clip import normalize
from prompt_jax.errors import PromptError
from prompt_jax.evaluation import blocks
from prompt_jax.evaluation.evaluate import Evaluator
from prompt_jax.export import writing
from prompt_jax.methods import UNSEEN, selection
from prompt_jax.methods.images import caps_adapter
from prompt_jax.methods.selection import HeldOut
from prompt_jax.models import saved
from prompt_jax.text import image_captions, text_files
from prompt_jax.training import features as kept

FIGURE, METHOD = FIGURES["caps_adapter"], caps_adapter.METHOD
LABELS = FIGURES["inputs"]["shot_labels"]
CAPTIONS = {"captions": TEXTS["caps_adapter"], "classes": TEXTS["biomedcoop"]}
PUBLISHED = {"alpha": 2.0, "beta": 5.5, "gamma": 0.7, "delta": 0.3, "distribution": "features"}


@functools.cache
def make(names=tuple(CLASSES), trained=None, **settings):
    """Returns a task on class names."""
    texts = text_files.from_content(CAPTIONS, "captions")
    chosen = caps_adapter.Settings(**settings)
    return methods.make_task(METHOD, TINY, FROZEN, names, chosen, trained=trained, texts=texts)


@pytest.fixture(scope="module")
def shots():
    """Returns features float[1, 12, d] of the shots."""
    images = jnp.asarray(FIGURES["inputs"]["shot_images"])
    return jax.jit(TINY.encode_image)(FROZEN, images)[None]


@pytest.fixture(scope="module")
def features():
    """Returns features float[3, d] of the batch."""
    return jax.jit(TINY.encode_image)(FROZEN, BATCH["image"])


def cache_of(task, shots):
    """Returns the cache of the shots and their captions."""
    captions = kept.encode_captions(METHOD, task, lambda: [""] * len(LABELS))
    return METHOD.adaptation.make({}, task, shots, LABELS, *captions)


@functools.partial(jax.jit)
def logits_of(prompts, task, features):
    return METHOD.forward(prompts, None, task, features).logits[-1]


def test_logits_and_cache_equal_the_published_code(shots, features):
    task = make(**PUBLISHED)
    prompts = cache_of(task, shots)
    assert largest_difference(prompts["keys"], FIGURE["cache_keys"]) <= 1e-6
    assert largest_difference(prompts["captions"], FIGURE["caption_keys"]) <= 1e-5
    values = caps_adapter.one_hot(prompts, task)
    assert largest_difference(values, FIGURE["cache_values"]) == 0
    assert largest_difference(task.constants, FIGURE["classifier"]) <= 1e-5
    assert largest_difference(logits_of(prompts, task, features), FIGURE["logits"]) <= 1e-4
    assert not any(jax.tree.leaves(METHOD.trains(prompts, task.settings)))


@pytest.mark.parametrize(
    ("distribution", "ending"), [("features", ""), ("classes", "_class_distribution")]
)
def test_divergences_equal_the_published_code(distribution, ending, shots, features):
    task = make(**{**PUBLISHED, "distribution": distribution})
    prompts, images = cache_of(task, shots), normalize(features)
    keys, seen = (caps_adapter.distribute(x, task) for x in (prompts["keys"], images))
    assert largest_difference(caps_adapter.diverge(seen, keys), FIGURE[f"kl{ending}"]) <= 1e-6
    compared = caps_adapter.compare(prompts, task, images)
    affinities = compared.affinities(prompts["delta"])
    assert largest_difference(affinities, FIGURE["affinity"]) <= 1e-6
    values = FIGURE["cache_values"]
    cache = caps_adapter.vote(affinities, values, prompts["beta"])
    assert largest_difference(cache, FIGURE["cache_logits"]) <= 1e-4
    divergence = caps_adapter.vote_by_divergence(compared, affinities, values)
    assert largest_difference(divergence, FIGURE[f"kl_logits{ending}"]) <= 1e-4
    logits = logits_of(prompts, task, features)
    assert largest_difference(logits, FIGURE[f"logits{ending}"]) <= 1e-4
    plain = logits - prompts["alpha"] * cache - prompts["gamma"] * divergence
    assert largest_difference(plain, FIGURE["zero_shot_logits"]) <= 1e-4


def test_without_divergences_a_prediction_is_that_of_the_image_alone(shots, features):
    for gamma, alone in ((0.0, True), (0.7, False)):
        task = make(**{**PUBLISHED, "gamma": gamma})
        prompts = cache_of(task, shots)
        whole = logits_of(prompts, task, features)
        each = jnp.concatenate([logits_of(prompts, task, one[None]) for one in features])
        assert (largest_difference(whole, each) <= 1e-4) == alone


def test_without_captions_and_divergences_it_is_tip_adapter(shots, features):
    task = make(alpha=1.0, beta=5.5, gamma=0.0, delta=0.0, classifier="dataset")
    prompts = cache_of(task, shots)
    found = logits_of(prompts, task, features)
    assert largest_difference(found, FIGURES["tip_adapter"]["logits"]) <= 1e-4


def test_the_cache_has_no_votes_for_a_class_without_shots(shots, features):
    task = make((CLASSES[0], CLASSES[1]), (UNSEEN, 1), **PUBLISHED)
    prompts = cache_of(make(**PUBLISHED), shots)
    plain = methods.method.cosine_logits(task, normalize(features), task.constants)
    found = logits_of(prompts, task, features)
    assert largest_difference(found[:, 0], plain[:, 0]) <= 1e-5
    assert (jnp.abs(found[:, 1] - plain[:, 1]) > 1e-3).all()


def test_the_most_hits_choose_all_four_settings(shots):
    steps = {"alpha_steps": 3, "beta_steps": 2, "gamma_steps": 3, "delta_steps": 2}
    task = make(**steps)
    prompts = cache_of(task, shots)
    noise = jax.random.normal(jax.random.key(0), (48, 32))
    noisy, labels = shots[0].repeat(4, axis=0) + 0.5 * noise, LABELS.repeat(4)
    tried = caps_adapter.grid(task.settings)
    assert tried["gamma"] == [0.0, 0.1, 30.0] and tried["delta"] == [0.0, 1.0]
    assert tried["alpha"] == [0.1, pytest.approx(5**0.5), 50.0] and tried["beta"] == [1.0, 50.0]
    hits = np.zeros([len(values) for values in tried.values()])
    for place in np.ndindex(hits.shape):
        values = {
            name: jnp.float32(values[at])
            for (name, values), at in zip(tried.items(), place, strict=True)
        }
        predicted = jnp.argmax(logits_of(prompts | values, task, noisy), axis=-1)
        hits[place] = int(jnp.sum(predicted == labels))
    tuned, choice = METHOD.adaptation.choose(prompts, task, [HeldOut(prompts, noisy[None], labels)])
    assert choice.accuracy == pytest.approx(100 * hits / 48)
    best = selection.best(hits)
    expected = {n: v[at] for (n, v), at in zip(tried.items(), best, strict=True)}
    assert {name: float(tuned[name]) for name in tried} == pytest.approx(expected, rel=1e-6)
    assert len(np.unique(hits)) > 3 and choice.as_json()["best"][0]["accuracy"] > 0


def test_given_settings_are_kept_and_the_others_searched(shots):
    task = make(gamma=0.0, delta=0.25, alpha_steps=2, beta_steps=2)
    prompts = cache_of(task, shots)
    tuned, choice = METHOD.adaptation.choose(prompts, task, [HeldOut(prompts, shots, LABELS)])
    assert list(choice.grid) == ["alpha", "beta"]
    assert float(tuned["gamma"]) == 0 and float(tuned["delta"]) == 0.25
    given = make(**PUBLISHED)
    prompts = cache_of(given, shots)
    tuned, choice = METHOD.adaptation.choose(prompts, given, [HeldOut(prompts, shots, LABELS)])
    assert choice is None and tuned is prompts


def test_the_captions_of_held_out_shots_are_held_out(shots):
    task = make(**PUBLISHED)
    captions = kept.encode_captions(METHOD, task, lambda: [""] * len(LABELS))
    fit = functools.partial(METHOD.adaptation.make, {}, task)
    held = selection.hold_out_shots(fit, shots, LABELS, *captions)
    assert len(held) == 2
    for fold in held:
        own = np.asarray(fold.prompts["captions"])
        assert len(own) == len(fold.prompts["labels"]) == 6
        rows = [int(np.argmin(np.abs(captions[0] - row).sum(axis=1))) for row in own]
        assert (LABELS[rows] == fold.prompts["labels"]).all()


def test_all_test_images_form_one_block_whatever_the_size_of_batches(shots):
    task = make(**{**PUBLISHED, "gamma": 30.0})
    prompts = cache_of(task, shots)
    rng = np.random.default_rng(0)
    images = rng.normal(size=(7, 32)).astype(np.float32)
    labels = np.arange(7, dtype=np.int32) % 6
    found = []
    for size in (7, 4, 2):
        batches = []
        for start in range(0, 7, size):
            rows, known = images[start : start + size], labels[start : start + size]
            missing = size - len(rows)
            batches.append(
                {
                    "image": np.pad(rows, ((0, missing), (0, 0))),
                    "label": np.pad(known, (0, missing), constant_values=-1),
                }
            )
        [accuracy] = Evaluator([METHOD])([prompts], [task], batches)
        found.append(accuracy.top_classes)
    expected = jax.nn.softmax(logits_of(prompts, task, images))
    for one in found:
        best = np.take_along_axis(np.asarray(expected), one.classes[0], axis=1)
        assert largest_difference(one.probabilities[0], best) <= 1e-5
        assert (one.labels == labels).all()


def test_blocks_are_filled_up_with_copies_of_their_first_image():
    parts = list(blocks.split(250, 200))
    assert [len(rows) for rows in parts] == [200, 100]
    assert parts[1][:50].tolist() == list(range(200, 250)) and set(parts[1][50:]) == {200}
    views = list(blocks.split(12, 8192, views=6))
    assert len(views) == 1 and len(views[0]) == 600
    assert views[0][12:24].tolist() == [0, 1, 2, 3, 4, 5] * 2
    assert list(blocks.split(0, 8192)) == []


@pytest.mark.parametrize(
    ("captions", "images", "expected"),
    [
        (["one", "two"], ["", ""], ["one", "two"]),
        ({"cat/1.jpg": "one", "dog/1.jpg": "two"}, ["dog/1.jpg", "cat/1.jpg"], ["two", "one"]),
        ({"1.jpg": "one"}, ["/data/cat/1.jpg"], ["one"]),
        ({"/there/train/cat/1.jpg": "one"}, ["cat/1.jpg"], ["one"]),
        ({"/there/cat/1.jpg": "one"}, ["/here/cat/1.jpg"], ["one"]),
        ({"cat\\1.jpg": "one"}, ["here/cat/1.jpg"], ["one"]),
        ({"a/x/1.jpg": "one", "b/x/1.jpg": "two"}, ["/data/b/x/1.jpg"], ["two"]),
    ],
)
def test_captions_are_found_by_the_last_parts_of_paths(captions, images, expected):
    texts = text_files.from_content({"captions": captions}, "captions")
    assert image_captions.find(texts, images) == expected


@pytest.mark.parametrize(
    ("captions", "images", "message"),
    [
        (["one"], ["", ""], "1 captions without paths for 2 training images"),
        ({"cat/1.jpg": "one"}, ["cat/2.jpg"], "no caption of 1 of 1 training images, .*cat/2"),
        ({"cat/1.jpg": "one"}, [""], "no caption of 1 of 1 .* one without a path"),
        ({"cat/1.jpg": "one"}, ["dog/1.jpg"], "no caption of 1 of 1"),
        ({"1.jpg": "one"}, ["cat/1.jpg", "dog/1.jpg"], "belong to 'cat/1.jpg' and 'dog/1.jpg'"),
        ({"a/x/1.jpg": "a", "b/x/1.jpg": "b"}, ["c/x/1.jpg"], "2 captions of image 'c/x/1.jpg'"),
    ],
)
def test_missing_and_ambiguous_captions_are_errors(captions, images, message):
    texts = text_files.from_content({"captions": captions}, "captions")
    with pytest.raises(PromptError, match=message):
        image_captions.find(texts, images)


def test_sentences_of_the_classes_may_be_missing_if_the_data_set_s_text_is_used():
    texts = text_files.from_content(TEXTS["caps_adapter"], "captions")
    made = functools.partial(methods.make_task, METHOD, TINY, FROZEN, CLASSES, texts=texts)
    with pytest.raises(PromptError, match="no sentences of the classes: .*classifier=dataset"):
        made(caps_adapter.Settings())
    assert made(caps_adapter.Settings(classifier="dataset")).constants.shape == (6, 32)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"delta": 1.5}, r"settings\.delta=1\.5 must be from 0 to 1"),
        ({"gamma": -0.5}, r"settings\.gamma=-0\.5 must be at least 0, or -1"),
        ({"beta_max": 0.5}, r"settings\.beta_max=0\.5 must be at least 1"),
        ({"delta_steps": 0}, r"settings\.delta_steps=0 must be at least 1"),
        ({"temperature": 0.0}, r"settings\.temperature=0\.0 must be above 0"),
        ({"distribution": "class"}, r"settings\.distribution"),
        ({"alpha_steps": 200, "beta_steps": 200}, "make 1,680,000 combinations; at most 50,000"),
    ],
)
def test_settings_out_of_range_are_rejected_by_name(wrong, message):
    with pytest.raises(PromptError, match=message):
        caps_adapter.Settings(**wrong)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """Returns a model with divergences of a tiny CLIP, fitted to files, and its images."""
    folder = tmp_path_factory.mktemp("caps")
    images = sorted((tiny.save_caltech101(folder) / "caltech-101").rglob("*.jpg"))
    labels = [image.parent.name for image in images]
    texts = {
        "captions": {f"{one.parent.name}/{one.name}": f"a {one.parent.name}" for one in images},
        "classes": {name: [f"a photo of a {name}."] for name in labels},
    }
    settings = {**PUBLISHED, "gamma": 5.0}
    clip = tiny.save_clip(folder / "clip")
    return pj.fit("caps_adapter", clip, images, labels, texts=texts, settings=settings), images


@pytest.mark.slow
def test_a_fitted_model_predicts_all_images_of_a_call_as_a_block(fitted, tmp_path):
    model, images = fitted
    assert set(model.prompts) >= {"keys", "captions"} and len(model.prompts["keys"]) == len(images)
    whole = model.predict(images).logits
    assert largest_difference(model.predict(images, batch_size=5).logits, whole) <= 1e-4
    part = model.predict(images[:4]).logits
    assert largest_difference(part, whole[:, :4]) > 1e-3
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    some = model.predict([images[0], broken, *images[1:]], on_error=lambda error: None)
    assert np.isnan(some.logits[:, 1]).all()
    assert largest_difference(np.delete(some.logits, 1, axis=1), whole) <= 1e-4
    model.save(tmp_path / "model")
    again = pj.load(tmp_path / "model").predict(images).logits
    assert largest_difference(again, whole) <= 1e-5
    with pytest.warns(UserWarning, match="only class"):
        [alone] = model.predict(images[:1], classes=["pagoda"])
    assert np.isfinite(alone.similarity)


@pytest.mark.slow
def test_a_model_with_divergences_is_not_exported(fitted, tmp_path):
    model, _ = fitted
    model.save(tmp_path / "model")
    found = saved.read(tmp_path / "model")
    with pytest.raises(PromptError, match=r"depend on the other images.*settings\.gamma=0"):
        writing.find_part(found)
    plain = dataclasses.replace(found, prompts=found.prompts | {"gamma": np.float32(0)})
    assert writing.find_part(plain) == "caps_adapter"
    assert caps_adapter.block(plain.prompts) == 0

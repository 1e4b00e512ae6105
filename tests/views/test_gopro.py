"""GOPro: its statistics, shift and losses equal the published code's; what they depend on."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import BATCH, CLASSES, FIGURES, FROZEN, TINY, largest_difference, relative_difference
from rows import BY_FIGURES, arrays, batch_of, task_of

from prompt_jax import methods
from prompt_jax.clip import CLIP, VARIANTS, normalize
from prompt_jax.errors import PromptError
from prompt_jax.methods.images import gopro
from prompt_jax.methods.inputs import average_frames, encode_statistics, split_statistics
from prompt_jax.prompts import encode_classes
from prompt_jax.training import train

FIGURE, ROW = FIGURES["gopro"], BY_FIGURES["gopro"]
VIEWED = batch_of(ROW)
SUFFIXES = ("", "_view1", "_view2")


@pytest.fixture(scope="module")
def task():
    return task_of(ROW)


@pytest.fixture(scope="module")
def prompts():
    return arrays(ROW, "param")


@pytest.fixture(scope="module")
def numbers():
    return jax.jit(lambda images: encode_statistics(TINY, FROZEN, images))(VIEWED["image"])


def logits(prompts, task, seen):
    return gopro.METHOD.forward(prompts, None, task, seen).logits[0]


def gradients(prompts, task, **settings):
    task = dataclasses.replace(task, settings=gopro.Settings(**settings))
    run = jax.jit(
        jax.value_and_grad(
            lambda prompts: train.loss_and_output(gopro.METHOD, prompts, task, VIEWED),
            has_aux=True,
        )
    )
    return run(prompts)


def test_statistics_and_features_equal_the_published_code(numbers):
    seen = split_statistics(TINY, numbers)
    assert largest_difference(seen.means[:, 0], FIGURE["mean"]) <= 1e-5
    assert largest_difference(seen.deviations[:, 0], FIGURE["deviation"]) <= 1e-5
    features = normalize(seen.features)
    for view, name in enumerate(("image_features_norm", "image_features_norm_view1")):
        assert largest_difference(features[:, view], FIGURE[name]) <= 1e-5


def test_shifts_and_text_features_of_all_views_equal_the_published_code(prompts, task, numbers):
    shift = gopro.find_shift(prompts, split_statistics(TINY, numbers))
    context = prompts["context"] + shift[..., None, :]
    texts = normalize(encode_classes(TINY, FROZEN, task.names, context))
    for view, suffix in enumerate(SUFFIXES):
        assert largest_difference(shift[:, view], FIGURE[f"shift{suffix}"]) <= 1e-6
        assert largest_difference(texts[:, view], FIGURE[f"text_features_norm{suffix}"]) <= 1e-5


def test_projections_equal_the_published_code(prompts, numbers):
    features = normalize(split_statistics(TINY, numbers).features)
    for view, suffix in enumerate(SUFFIXES[:2]):
        found = gopro.project(prompts["projector"], features[:, view])
        assert largest_difference(found, FIGURE[f"projected{suffix}"]) <= 1e-4


def test_each_loss_and_its_gradients_equal_the_published_code(prompts, task):
    (value, output), found = gradients(prompts, task)
    assert float(value) == pytest.approx(float(FIGURE["loss"]), abs=5e-5)
    contrast = 0.1 * float(FIGURE["contrastive_loss"])
    expected = {"views": float(FIGURE["semantic_loss"]), "contrast": contrast}
    assert {name: float(x) for name, x in output.losses.items()} == pytest.approx(
        expected, rel=1e-4
    )
    assert float(value - sum(output.losses.values())) == pytest.approx(
        float(FIGURE["ce"]), abs=5e-5
    )
    projector, published = found["projector"], arrays(ROW, "grad")["projector"]
    for name in ("kernel", "scale", "offset"):
        assert relative_difference(projector[name], published[name]) <= 1e-4
    # The figures' gradients of these two are rounding errors.
    assert np.abs(projector["bias"]).max() <= 1e-6 and np.abs(found["mix"]["bias"]) <= 1e-4


def test_the_term_of_the_views_alone_has_the_published_gradient(prompts, task):
    with_views, without = (
        gradients(prompts, task, views_weight=weight)[1]["context"] for weight in (1.0, 0.0)
    )
    assert relative_difference(with_views - without, FIGURE["grad_semantic.ctx"]) <= 1e-3


def test_the_contrastive_loss_reaches_the_projector_only(prompts, task):
    (_, output), found = gradients(prompts, task)
    (_, fewer), without = gradients(prompts, task, contrast_weight=0.0)
    assert set(output.losses) == {"views", "contrast"} and set(fewer.losses) == {"views"}
    assert not any(np.any(x) for x in jax.tree.leaves(without["projector"]))
    assert np.abs(found["projector"]["kernel"]).max() > 1e-3
    for name in ("context", "style", "content"):
        assert relative_difference(found[name], without[name]) <= 1e-5
    parts = {"projector", "meta_net"}
    others = {name: jax.tree.map(lambda x: x + 1, prompts[name]) for name in parts}
    changed = logits({**prompts, **others}, task, encode_statistics(TINY, FROZEN, BATCH["image"]))
    np.testing.assert_array_equal(changed, logits(prompts, task, plain_numbers()))


def plain_numbers():
    return encode_statistics(TINY, FROZEN, BATCH["image"])


def test_the_published_number_of_parameters_and_those_without_effect():
    clip = CLIP(VARIANTS["ViT-B/16"])

    def init(rng):
        method = methods.get("gopro")
        task = methods.make_task(method, clip, clip.init(rng), ["a", "b"], gopro.Settings())
        return method.init(rng, task)

    shapes = jax.eval_shape(init, jax.random.key(0))
    sizes = {name: sum(x.size for x in jax.tree.leaves(part)) for name, part in shapes.items()}
    assert sum(sizes.values()) == 9_748_525
    assert (sizes["meta_net"], sizes["projector"]) == (33_312, 263_680)
    assert sizes["meta_net"] + sizes["projector"] == 296_992


def test_in_testing_an_image_is_predicted_by_itself(prompts, task):
    numbers = plain_numbers()
    together = logits(prompts, task, numbers)
    assert largest_difference(together, FIGURE["logits"]) <= 1e-4
    for row in range(len(numbers)):
        alone = logits(prompts, task, numbers[row : row + 1])
        assert largest_difference(alone[0], together[row]) <= 1e-4
    assert not gopro.METHOD.forward(prompts, None, task, numbers).losses


def test_what_shifts_the_context(prompts, task):
    """The differences of the published code's variants, which this text tower amplifies."""
    numbers, usual = plain_numbers(), logits(prompts, task, plain_numbers())
    zeros = jax.tree.map(jnp.zeros_like, prompts["style"])
    unmixed = jax.tree.map(jnp.zeros_like, prompts["mix"])
    without_style = logits({**prompts, "style": zeros}, task, numbers)
    assert largest_difference(without_style, usual) == pytest.approx(10, abs=3)
    unshifted = logits({**prompts, "mix": unmixed}, task, numbers)
    assert largest_difference(unshifted, usual) == pytest.approx(21, abs=3)
    # A constant for all channels is removed by every LayerNorm of the text tower.
    constant = {**prompts["mix"], "bias": prompts["mix"]["bias"] + 0.5}
    inert = logits({**prompts, "mix": constant}, task, numbers)
    assert largest_difference(inert, usual) <= 2e-3 < largest_difference(unshifted, usual)


def test_kept_statistics_train_like_images(prompts, task, numbers):
    method = gopro.METHOD
    images, _ = train.loss_and_output(method, prompts, task, VIEWED)
    kept, _ = train.loss_and_output(method, prompts, task, {**VIEWED, "image": numbers})
    assert float(kept) == pytest.approx(float(images), abs=1e-5)


def test_a_batch_of_one_image_trains(prompts, task):
    one = {name: x[:1] for name, x in VIEWED.items()}
    value, found = jax.value_and_grad(
        lambda prompts: train.loss_and_output(gopro.METHOD, prompts, task, one)[0]
    )(prompts)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((value, found)))


def test_statistics_of_a_video_are_means_over_its_frames():
    videos = jnp.stack([BATCH["image"], BATCH["image"][::-1]], axis=1)  # [3, 2, H, W, 3]
    seen = split_statistics(TINY, encode_statistics(average_frames(TINY), FROZEN, videos))
    frames = split_statistics(TINY, encode_statistics(TINY, FROZEN, videos))
    assert frames.means.shape == (3, 2, 3, 64) and seen.means.shape == (3, 3, 64)
    for one, all_frames in zip(seen, frames, strict=True):
        assert largest_difference(one, all_frames.mean(axis=1)) <= 1e-5


def test_the_contrast_has_no_positive_but_the_same_image():
    """Two views of two images: the best case by hand, the cosine with itself left out."""
    views = jnp.eye(2)
    expected = -np.log(np.e / (np.e + 1 + 1))
    assert float(gopro.contrast(views, views, 1.0)) == pytest.approx(expected, rel=1e-5)
    swapped = float(gopro.contrast(views, views[::-1], 1.0))
    assert swapped == pytest.approx(-np.log(1 / (np.e + 1 + 1)), rel=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, "settings.temperature=0.0 must be above 0"),
        ({"contrast_weight": -1.0}, "settings.contrast_weight=-1.0 must be at least 0"),
        ({"views_weight": float("nan")}, "settings.views_weight=nan must be at least 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(PromptError, match=message):
        gopro.Settings(**settings)


def test_the_classes_of_a_task_are_open(task):
    """New names need no new parameters."""
    other = methods.make_task(
        gopro.METHOD, TINY, FROZEN, CLASSES[:2], gopro.Settings(), trained=[-1, -1]
    )
    assert logits(arrays(ROW, "param"), other, plain_numbers()).shape == (3, 2)

"""Properties of ProMPT's iterations, ablations and settings, on the tiny CLIP."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from reference import (
    BATCH,
    CLASSES,
    CONFIG,
    FIGURES,
    FROZEN,
    largest_difference,
    relative_difference,
)
from rows import pro_mpt_tree

from prompt_jax.clip import CLIP, normalize
from prompt_jax.errors import PromptError
from prompt_jax.methods import encode_input, make_task
from prompt_jax.methods.images import pro_mpt, zero_shot
from prompt_jax.methods.images.pro_mpt import METHOD, Settings
from prompt_jax.prompts import encode_classes, generate, generate_layers
from prompt_jax.training import optim

pytestmark = pytest.mark.slow
# Fewer layers than the figures' CLIP, because these tests compile ProMPT many times.
SMALL = CLIP(dataclasses.replace(CONFIG, image_layers=2, text_layers=1))
SETTINGS = Settings(iterations=2, vision_prompts=3, vision_depth=2)
PROMPTS = pro_mpt_tree(lambda name: jnp.asarray(FIGURES["pro_mpt"][f"param.{name}"]))
IMAGES = BATCH["image"]


@jax.jit
def forward(prompts, task, images):
    """Returns logits of all iterations, float[1 + N, B, K]."""
    return METHOD.forward(prompts, METHOD.prepare(prompts, task), task, images).logits


def logits(prompts=PROMPTS, names=CLASSES, images=IMAGES, **changed):
    """Returns the same with these settings changed."""
    settings = dataclasses.replace(SETTINGS, **changed)
    return forward(prompts, make_task(METHOD, SMALL, FROZEN, names, settings), images)


def fresh(names=CLASSES, **changed):
    """Returns initial prompts with these settings changed."""
    settings = dataclasses.replace(SETTINGS, **changed)
    return METHOD.init(jax.random.key(0), make_task(METHOD, SMALL, FROZEN, names, settings))


def without(*keys):
    """Returns the prompts without some of their parts."""
    return {key: value for key, value in PROMPTS.items() if key not in keys}


@jax.jit
def plain_loop(prompts, task, image):
    """Computes ProMPT's equations on one image, float[H, W, 3], in a Python loop."""
    s, clip, frozen = task.settings, task.clip, task.frozen
    features = clip.encode_image(frozen, image[None])[0]
    classes = task.constants
    vision, context = prompts["vision"], prompts["context"]
    logits = [task.scale * normalize(classes) @ normalize(features)]
    for _ in range(s.iterations):
        best = jnp.argsort(-logits[-1])[: s.vision_prompts]
        if s.vision_generator:
            made_from = normalize(classes) if s.normalize_generator_input else classes
            vision += generate_layers(prompts["vision_generator"], made_from[best][None])[0]
        features = clip.encode_image(frozen, image[None], vision)[0]
        if s.text_generator:
            seen = normalize(features) if s.normalize_generator_input else features
            context += generate(prompts["text_generator"], seen)
        classes = encode_classes(clip, frozen, task.names, context)
        logits.append(task.scale * normalize(classes) @ normalize(features))
    return jnp.stack(logits)


@pytest.mark.parametrize(
    "field", [None, "normalize_generator_input", "vision_generator", "text_generator"]
)
def test_the_scan_equals_a_plain_loop(field):
    changed: dict[str, Any] = {field: False} if field else {}
    settings = dataclasses.replace(SETTINGS, **changed)
    task = make_task(METHOD, SMALL, FROZEN, CLASSES, settings)
    expected = plain_loop(PROMPTS, task, IMAGES[1])
    output = logits(without(field), **changed)
    assert largest_difference(output[:, 1], expected) <= 1e-4
    if field:
        assert largest_difference(output[1:], logits()[1:]) > 0.01


def test_zero_iterations_equal_zero_shot():
    assert fresh(iterations=0) == {}
    output = logits({}, iterations=0)
    task = make_task(zero_shot.METHOD, SMALL, FROZEN, CLASSES, zero_shot.Settings())
    features = encode_input(zero_shot.METHOD, task, IMAGES)
    expected = jax.jit(zero_shot.forward)({}, None, task, features).logits
    assert output.shape == (1, 3, len(CLASSES))
    assert largest_difference(output, expected) <= 1e-4
    assert METHOD.trains({}, Settings(iterations=0)) == {}


def test_further_iterations_do_not_change_earlier_ones():
    longer, shorter = logits(iterations=3), logits()
    assert longer.shape == (4, 3, len(CLASSES))
    assert largest_difference(longer[:3], shorter) <= 1e-4
    assert largest_difference(longer[3], longer[2]) > 0.01


@pytest.mark.parametrize(
    "fields",
    [["vision_generator"], ["text_generator"], ["vision_generator", "text_generator"]],
    ids=" and ".join,
)
def test_ablations_train_the_remaining_parts_and_give_finite_logits(fields):
    changed: dict[str, Any] = dict.fromkeys(fields, False)
    prompts = fresh(**changed)
    assert set(prompts) == set(PROMPTS) - set(fields)
    assert jnp.isfinite(logits(prompts, **changed)).all()


def test_without_the_filter_every_class_has_a_vision_prompt():
    assert fresh()["vision"].shape == (2, 3, 64)
    assert fresh(feature_filter=False)["vision"].shape == (2, len(CLASSES), 64)


@pytest.fixture
def record(monkeypatch):
    """Runs ProMPT with replaced encoders, and returns the arguments of their calls."""

    def run(**changed):
        vision, contexts = [], []

        def encode_tokens(clip, frozen, tokens, deep_prompts=None):
            if deep_prompts is not None:
                vision.append(np.asarray(deep_prompts))
                tokens = tokens + deep_prompts.sum(axis=(1, 2))[:, None]
            return tokens.mean(axis=1)[:, :32]

        def encode_classes(clip, frozen, classes, context=None):
            names = jnp.eye(classes.number, 32)
            if context is None:
                return names
            contexts.append(np.asarray(context))
            return names + context.mean(axis=1)[:, None, :32]

        with monkeypatch.context() as patch, jax.disable_jit():  # the scan runs as a Python loop
            patch.setattr(CLIP, "encode_tokens", encode_tokens)
            patch.setattr(pro_mpt, "encode_classes", encode_classes)
            task = make_task(
                METHOD, SMALL, FROZEN, CLASSES, dataclasses.replace(SETTINGS, **changed)
            )
            METHOD.forward(PROMPTS, METHOD.prepare(PROMPTS, task), task, IMAGES[:2])
        return np.stack(vision), np.stack(contexts)  # [iterations, images, ...]

    return run


def varies(arrays):
    """Returns whether an encoder's argument depends on the image, and on the iteration."""
    return np.ptp(arrays, axis=1).max() > 1e-3, np.ptp(arrays, axis=0).max() > 1e-3


def test_without_its_generator_a_tower_gets_the_same_prompts_for_all_images_and_iterations(record):
    vision, context = record()
    assert varies(vision) == (True, True)
    assert varies(context) == (True, True)
    vision, context = record(vision_generator=False)
    assert (vision == np.asarray(PROMPTS["vision"])).all()
    assert varies(context)[0]
    vision, context = record(text_generator=False)
    assert (context == np.asarray(PROMPTS["context"])).all()
    assert varies(vision)[0]


def test_without_both_generators_all_iterations_are_equal():
    output = logits(
        without("vision_generator", "text_generator"), vision_generator=False, text_generator=False
    )
    assert largest_difference(output[1], output[2]) == 0


def test_vision_prompts_that_start_at_zero_stay_there():
    prompts = fresh(vision_prompt_init="zeros")
    settings = dataclasses.replace(SETTINGS, vision_prompt_init="zeros")
    assert (prompts["vision"] == 0).all()
    trains = METHOD.trains(prompts, settings)
    assert trains["vision"] is False
    assert all(jax.tree.leaves(trains | {"vision": True}))
    optimizer = optim.sgd(0.1, trains)
    updates, _ = optimizer.update(PROMPTS, optimizer.init(prompts), prompts)
    moved = optax.apply_updates(prompts, updates)
    assert (moved["vision"] == 0).all()
    assert largest_difference(moved["context"], prompts["context"]) > 0


def test_with_fewer_classes_than_vision_prompts_the_first_slots_are_used():
    two, few = CLASSES[:2], PROMPTS | {"vision": PROMPTS["vision"][:, :2]}
    expected = logits(few, names=two, vision_prompts=2)
    assert jnp.isfinite(expected).all()
    assert largest_difference(logits(names=two), expected) <= 1e-5
    assert largest_difference(logits(names=two, feature_filter=False), expected) <= 1e-4


def test_without_the_filter_additional_classes_get_slots_of_zeros():
    missing = len(CLASSES) - PROMPTS["vision"].shape[1]
    padded = PROMPTS | {"vision": jnp.pad(PROMPTS["vision"], ((0, 0), (0, missing), (0, 0)))}
    expected = logits(padded, vision_prompts=len(CLASSES))
    assert largest_difference(logits(feature_filter=False), expected) <= 1e-4


def test_the_order_of_vision_prompts_does_not_matter():
    prompts = without("vision_generator")  # which would distinguish slots by their class
    shuffled = prompts | {"vision": PROMPTS["vision"][:, jnp.array([2, 0, 1])]}
    one, other = (logits(p, vision_generator=False) for p in (prompts, shuffled))
    assert largest_difference(one, other) <= 1e-4


def test_permuting_the_classes_permutes_the_logits():
    order = [3, 5, 0, 1, 4, 2]
    permuted = logits(names=[CLASSES[i] for i in order])
    assert largest_difference(permuted, logits()[..., np.array(order)]) <= 1e-4


def test_an_image_does_not_depend_on_the_rest_of_its_batch():
    alone = logits(images=IMAGES[1:2])
    assert largest_difference(alone, logits()[:, 1:2]) <= 1e-4


def test_stopped_gradients_change_gradients_and_no_value():
    names = ("pro_mpt", "pro_mpt_stop_z", "pro_mpt_stop_all")
    none, features, everything = (
        {k: v for k, v in FIGURES[name].items() if k.startswith("grad.")} for name in names
    )  # equality of ours is tested in test_methods.py
    for one, other in [(none, features), (features, everything), (none, everything)]:
        assert relative_difference(one, other) > 1e-3
    for stop in ("features", "all"):
        assert largest_difference(logits(stop_gradient=stop), logits()) == 0


def test_loss_decay_weights_later_iterations_more_and_excludes_zero_shot():
    task = make_task(METHOD, SMALL, FROZEN, CLASSES, Settings(3, 3, 2, loss_decay=0.5))
    output = jax.eval_shape(
        lambda p: METHOD.forward(p, METHOD.prepare(p, task), task, IMAGES), PROMPTS
    )
    assert output.weights == (0.0, 0.25, 0.5, 1.0)


def test_the_filter_selects_the_best_rows_first():
    features = jnp.arange(12.0).reshape(1, 4, 3)
    best = pro_mpt.select(features, jnp.array([[0.1, 3.0, -1.0, 2.0]]), 2)
    assert best.tolist() == [features[0, np.array([1, 3])].tolist()]


@pytest.mark.parametrize(
    "setting, message",
    [
        ({"vision_prompt_init": "ones"}, "vision_prompt_init='ones' is not one of"),
        ({"stop_gradient": "some"}, "stop_gradient='some' is not one of"),
        ({"iterations": -1}, "iterations=-1 must be at least 0"),
        ({"vision_prompts": 0}, "vision_prompts=0 must be at least 1"),
    ],
)
def test_invalid_settings_are_rejected(setting, message):
    with pytest.raises(PromptError, match=message):
        Settings(**setting)

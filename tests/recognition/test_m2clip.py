"""Properties of M²-CLIP: further arrays of the figures, its loss, adapters, and the linear head."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from action_rows import BY_FIGURES, FIGURES, batch_of, method_of, prompts_of, task_of
from reference import CLASSES, FROZEN, TINY, largest_difference
from video_rows import VIDEOS

from prompt_jax import methods
from prompt_jax.clip import CLIP, VARIANTS, normalize
from prompt_jax.errors import PromptError
from prompt_jax.heads import frame_adapters
from prompt_jax.methods.video import m2clip
from prompt_jax.training import train

NAMES = ("m2clip", "m2clip_both")
ROW = BY_FIGURES["m2clip"]
ENCODE = jax.jit(m2clip.encode_frames)
KEY = jax.random.key(0)
SOMETHING: dict[str, Any] = {"places": "both", "text_layers": "all"}


def numbered(number):
    """Returns a list of words as published."""
    return "\n".join(f"word{index} {index}" for index in range(number))


def learn(row, **settings):
    """Returns (loss, output) of the row's batch with these settings changed."""
    task = task_of(row, dataclasses.replace(row.settings, **settings))
    return train.loss_and_output(method_of(row), prompts_of(row), task, batch_of(row))


@pytest.mark.parametrize("name", NAMES)
def test_features_terms_and_head_equal_the_reference(name):
    row, expected = BY_FIGURES[name], FIGURES[name]
    prompts, task = prompts_of(row), task_of(row)
    frames, class_tokens = ENCODE(prompts, task, VIDEOS)
    assert largest_difference(frames, expected["frame_features"]) <= 2e-5
    head = m2clip.classify(prompts, task, class_tokens)
    assert largest_difference(head, expected["logits_head"]) <= 1e-5
    texts = jax.jit(method_of(row).prepare)(prompts, task)
    assert largest_difference(texts, normalize(jnp.asarray(expected["text_features"]))) <= 1e-6
    _, output = learn(row)
    both = float(expected["loss_v2t"] + expected["loss_t2v"]) / 4
    assert float(output.losses["pairs"]) == pytest.approx(both, abs=1e-5)
    half = float(expected["loss_classes"]) / 2
    assert float(output.losses["classes"]) == pytest.approx(half, abs=1e-5)
    assert float(output.losses["head"]) == pytest.approx(float(expected["loss_head"]), abs=1e-5)
    _, output = learn(row, classes_loss="logits")
    half = float(expected["loss_classes_of_logits"]) / 2
    assert float(output.losses["classes"]) == pytest.approx(half, abs=1e-4)


def test_the_published_cross_entropy_has_a_floor():
    perfect = jax.nn.one_hot(jnp.zeros(1, int), 400)
    found = optax.softmax_cross_entropy_with_integer_labels(perfect, jnp.zeros(1, int))
    assert float(found[0]) == pytest.approx(np.log(np.e + 399) - 1) == pytest.approx(5.0, abs=0.02)


def test_the_image_tower_starts_as_clip_s_and_the_text_tower_does_not():
    task = task_of(ROW)
    prompts = m2clip.init(KEY, task)
    frames, _ = ENCODE(prompts, task, VIDEOS)
    assert largest_difference(frames, jax.jit(TINY.encode_image)(FROZEN, VIDEOS)) <= 1e-5
    texts = method_of(ROW).prepare(prompts, task)
    none = prompts | {"text": jax.tree.map(jnp.zeros_like, prompts["text"])}
    assert largest_difference(texts, method_of(ROW).prepare(none, task)) > 1e-4


def test_adapters_are_linear_in_the_tokens_up_to_their_biases():
    layers = jax.tree.map(lambda x: x[0], prompts_of(ROW)["image"]["before_mlp"])
    tokens = jax.random.normal(KEY, (2, 2, 4, 17, 64))
    one, two = (frame_adapters.adapt(TINY, layers, each) for each in tokens)
    middle = frame_adapters.adapt(TINY, layers, tokens.mean(axis=0))
    assert largest_difference(middle, (one + two) / 2) <= 1e-5


def test_only_patches_see_the_change_from_the_frame_before():
    layers = jax.tree.map(lambda x: x[0], prompts_of(ROW)["image"]["before_mlp"])
    silent = layers | {name: jax.tree.map(jnp.zeros_like, layers[name]) for name in ("up",)}
    still = jnp.broadcast_to(jax.random.normal(KEY, (1, 1, 17, 64)), (1, 4, 17, 64))
    moved = frame_adapters.adapt(TINY, silent, still) - still
    assert float(jnp.abs(moved[:, :, 0]).max()) == 0  # class tokens
    # Without any change only biases are left, the same in all frames.
    assert largest_difference(moved, jnp.broadcast_to(moved[:, :1], moved.shape)) <= 1e-6
    tokens = jax.random.normal(KEY, (1, 4, 17, 64))
    moved = frame_adapters.adapt(TINY, silent, tokens) - tokens
    later = frame_adapters.adapt(TINY, silent, tokens.at[:, 3].add(1.0)) - tokens.at[:, 3].add(1.0)
    assert largest_difference(moved[:, :3], later[:, :3]) <= 1e-6  # a frame sees the one before
    assert largest_difference(moved[:, 3], later[:, 3]) > 1e-3


def test_the_difference_part_of_the_last_block_changes_nothing():
    prompts, task = prompts_of(ROW), task_of(ROW)

    def loss(prompts):
        return train.loss_and_output(method_of(ROW), prompts, task, batch_of(ROW))[0]

    gradients = jax.jit(jax.grad(loss))(prompts)["image"]["before_mlp"]["difference"]
    for gradient in jax.tree.leaves(gradients):
        assert float(jnp.abs(gradient[-1]).max()) == 0 < float(jnp.abs(gradient[:-1]).max())


def test_the_head_may_make_the_prediction_for_its_own_classes():
    head = dataclasses.replace(ROW.settings, prediction="head")
    method, prompts, task = method_of(ROW), prompts_of(ROW), task_of(ROW, head)
    forward = jax.jit(method.forward)
    logits = forward(prompts, method.prepare(prompts, task), task, VIDEOS).logits[0]
    assert largest_difference(logits, FIGURES["m2clip"]["logits_head"]) <= 1e-5
    order = [4, 1]
    some = [CLASSES[label] for label in order]
    fewer = methods.make_task(method, TINY, FROZEN, some, head, trained=order)
    found = forward(prompts, method.prepare(prompts, fewer), fewer, VIDEOS).logits[0]
    assert largest_difference(found, logits[:, jnp.array(order)]) <= 1e-6
    with pytest.raises(PromptError, match="none for 1 of 2 classes"):
        methods.make_task(method, TINY, FROZEN, ["lynx", "cat"], head, trained=[-1, 0])
    assert largest_difference(learn(ROW, prediction="head")[1].logits[0], logits) <= 1e-5


def test_dropout_depends_on_the_step_alone():
    task = task_of(ROW, dataclasses.replace(ROW.settings, head_dropout=0.5))
    losses = [
        float(
            train.loss_and_output(
                method_of(ROW), prompts_of(ROW), task, batch_of(ROW) | {"step": step}
            )[1].losses["head"]
        )
        for step in (0, 0, 1)
    ]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize(
    ("settings", "classes", "expected"),
    [
        ({"words": numbered(520)}, 400, 16_138_136),
        ({"words": numbered(234)} | SOMETHING, 174, 39_524_248),
        # Without the part that guesses masked words.
        ({}, 400, 16_138_136 - 394_112 - 530_440),
        (SOMETHING, 174, 39_524_248 - 2 * 394_112 - 383_722),
    ],
)
def test_parameter_counts_on_vit_b16(settings, classes, expected):
    clip, method = CLIP(VARIANTS["ViT-B/16"]), methods.recognize(m2clip.ENCODERS)
    names = [f"action {number}" for number in range(classes)]

    def init(rng):
        given = m2clip.Settings(**settings)
        return method.init(rng, methods.make_task(method, clip, clip.init(rng), names, given))

    prompts = jax.eval_shape(init, KEY)
    assert sum(leaf.size for leaf in jax.tree.leaves(prompts)) == expected


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"places": "both_"}, "Did you mean 'both'"),
        ({"text_layers": "first"}, "unknown settings.text_layers 'first'"),
        ({"prediction": "heads"}, "Did you mean 'head'"),
        ({"hidden": 0}, "settings.hidden=0 must be at least 1"),
        ({"head_dropout": 1.0}, "settings.head_dropout=1.0 must be below 1"),
        ({"template": "A video"}, "must contain"),
        ({"mask_probability": 0.0}, "settings.mask_probability=0.0 must be above 0"),
        ({"words": "run jump run"}, "settings.words lists 'run' twice"),
        ({"words": "run 0 jump 2"}, "gives 'jump' the index 2, where 1 comes next"),
    ],
)
def test_invalid_settings_are_rejected(settings, match):
    with pytest.raises(PromptError, match=match):
        m2clip.Settings(**settings)

"""Float32 products stay float32 on accelerators: checks the precision of every lowered product.

A TPU computes float32 products in bfloat16, and an NVIDIA GPU in TF32, unless a program asks for
more. Neither device is needed to check what a program asks for.
"""

import dataclasses
import re

import action_rows
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import switch_rows
import video_rows
from reference import BATCH, CLASSES, FROZEN, TINY, adapt, in_views

from prompt_jax import methods
from prompt_jax.clip import CLIP, PRECISIONS
from prompt_jax.errors import PromptError
from prompt_jax.evaluation import programs
from prompt_jax.text import class_texts
from prompt_jax.training import optim, train

OPERATION = re.compile(r"stablehlo\.(?:dot_general|dot|convolution)\b")
PRODUCT = re.compile(OPERATION.pattern + r".*?\) -> tensor<[^>]*>")
ASKED = re.compile(r"precision = \[(\w+), (\w+)\]")
FLOAT32 = re.compile(r": \(tensor<[^>]*xf32>, tensor<[^>]*xf32>\)")
FULL = {("HIGHEST", "HIGHEST")}
ROWS = {row.method: row for row in (*video_rows.ROWS, *action_rows.ROWS, switch_rows.ROWS[-1])}


def products(traced, platform):
    """Returns the precision of each product of float32 in a program, of both its operands."""
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    found = PRODUCT.findall(text)
    assert len(found) == len(OPERATION.findall(text)) > 0
    asked = [ASKED.search(product) for product in found if FLOAT32.search(product)]
    return [one.groups() if one else ("DEFAULT", "DEFAULT") for one in asked]


def start(method, task):
    """Returns the prompts that training starts from, made from one shot per class if need be."""
    prompts = method.init(jax.random.key(0), task)
    if method.adaptation is None:
        return prompts
    shots = np.ones((1, len(CLASSES), TINY.config.embed_dim), np.float32)
    return adapt(method, prompts, task, shots, np.arange(len(CLASSES)))


def trace_step(method, task, batch):
    """Traces the training step of a method as its runs take it."""
    prompts = start(method, task)
    optimizer = optim.sgd(0.1, method.trains(prompts, task.settings))
    return train.make_step(method, optimizer).trace(
        train.init_state(prompts, optimizer), task, batch
    )


def trace_on_images(name, clip=TINY):
    """Traces the training step of a method of images with its published settings."""
    method = methods.get(name)
    return trace_step(
        method,
        methods.make_task(
            method,
            clip,
            FROZEN,
            CLASSES,
            method.Settings(),
            texts=class_texts.stand_in(method.texts, CLASSES),
        ),
        in_views(BATCH, len(method.views)),
    )


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
@pytest.mark.parametrize("name", sorted(methods.METHODS))
def test_a_training_step_on_images_computes_in_float32(name, platform):
    assert set(products(trace_on_images(name), platform)) == FULL


@pytest.mark.parametrize("name", sorted(methods.ENCODERS))
def test_a_training_step_on_videos_computes_in_float32(name):
    method = methods.retrieve(methods.get_encoders(name))
    settings = ROWS[name].settings if name in ROWS else methods.get_encoders(name).Settings()
    task = methods.make_task(method, TINY, FROZEN, (), settings)
    row = ROWS.get(name, ROWS["vop"])
    assert set(products(trace_step(method, task, video_rows.batch_of(row)), "tpu")) == FULL


@pytest.mark.parametrize("name", ["zero_shot", "coop", "gda", "tip_adapter", "pro_mpt"])
def test_a_prediction_computes_in_float32(name):
    method = methods.get(name)
    task = methods.make_task(
        method,
        TINY,
        FROZEN,
        CLASSES,
        method.Settings(),
        texts=class_texts.stand_in(method.texts, CLASSES),
    )
    prompts = start(method, task)
    prepared = method.prepare(prompts, task)
    traced = programs.logits(method).trace(prompts, prepared, task, BATCH["image"])
    assert set(products(traced, "cuda")) == FULL


def test_features_and_attention_are_computed_in_float32():
    tokens = jnp.zeros((2, TINY.config.context_length), jnp.int32)
    images = programs.encode_images.trace(TINY, FROZEN, BATCH["image"])
    texts = programs.encode_texts.trace(TINY, FROZEN, tokens)
    seen = jax.jit(
        lambda frozen, images: TINY.image_layers(frozen)[0].class_attention(
            TINY.embed_image(frozen, images)
        )
    ).trace(FROZEN, BATCH["image"])
    for traced in (images, texts, seen):
        assert set(products(traced, "tpu")) == FULL


@pytest.mark.parametrize("precision, asked", [("high", "HIGH"), ("default", "DEFAULT")])
def test_a_lower_precision_applies_to_the_towers_only(precision, asked):
    found = products(
        trace_on_images("cocoop", dataclasses.replace(TINY, precision=precision)), "tpu"
    )
    assert set(found) == FULL | {(asked, asked)}
    # The heads, the meta-net and the cosines stay in float32; the blocks have most products.
    assert found.count((asked, asked)) > len(found) / 2


def test_bfloat16_keeps_the_small_products_in_float32():
    clip = CLIP(TINY.config, jnp.dtype("bfloat16"))
    assert set(products(trace_on_images("cocoop", clip), "tpu")) == FULL


def test_precisions_give_equal_features_on_a_cpu():
    def encode(precision):
        clip = dataclasses.replace(TINY, precision=precision)
        return np.asarray(programs.encode_images(clip, FROZEN, BATCH["image"]))

    first, *others = map(encode, PRECISIONS)
    for other in others:
        np.testing.assert_array_equal(first, other)


def test_an_unknown_precision_is_rejected():
    with pytest.raises(PromptError, match=r"unknown precision 'float32'.*Available: default, high"):
        CLIP(TINY.config, precision="float32")

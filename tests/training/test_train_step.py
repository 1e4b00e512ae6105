"""One training step: what it changes, what it keeps, and its loss."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import BATCH, CLASSES, FROZEN, TINY, largest_difference, relative_difference

from prompt_jax import methods
from prompt_jax.clip import CLIP
from prompt_jax.methods import Output
from prompt_jax.methods.images import cocoop, coop, pro_mpt, zero_shot
from prompt_jax.training import optim, train

STEP_SIZE = 1e-4


@functools.cache
def step_of(name):
    """Returns the compiled step of a method in which everything trains, shared by all tests."""
    method = methods.get(name)
    prompts = method.init(jax.random.key(0), task_of(name))
    optimizer = optim.sgd(STEP_SIZE, method.trains(prompts, task_of(name).settings))
    return train.make_step(method, optimizer), optimizer


@functools.cache
def task_of(name, clip=TINY):
    """Returns the method's task with few, small prompts on the six classes of the figures."""
    settings = {
        "coop": coop.Settings(context_length=4),
        "cocoop": cocoop.Settings(),
        "pro_mpt": pro_mpt.Settings(iterations=1, vision_prompts=2, vision_depth=2),
        "pro_mpt on raw features": pro_mpt.Settings(
            iterations=2, vision_prompts=2, vision_depth=2, normalize_generator_input=False
        ),
        "zero_shot": zero_shot.Settings(),
    }
    return methods.make_task(methods.get(name.split()[0]), clip, FROZEN, CLASSES, settings[name])


def run(name, steps, seed=0):
    """Returns the state and the losses after this many steps on the same three images."""
    step, optimizer = step_of(name)
    prompts = methods.get(name).init(jax.random.key(seed), task_of(name))
    state, losses = train.init_state(prompts, optimizer), []
    for _ in range(steps):
        state, metrics = step(state, task_of(name), BATCH)
        losses.append(float(metrics["loss"]))
    return state, losses


@pytest.mark.parametrize(
    "name", ["coop", "cocoop", pytest.param("pro_mpt", marks=pytest.mark.slow)]
)
def test_the_loss_falls_over_ten_steps_and_every_leaf_changes(name):
    state, losses = run(name, 10)
    assert int(state.step) == 10
    assert losses[-1] < losses[0] - 0.1
    start = methods.get(name).init(jax.random.key(0), task_of(name))
    for before, after in zip(jax.tree.leaves(start), jax.tree.leaves(state.prompts), strict=True):
        assert largest_difference(before, after) > 0


def test_frozen_parameters_stay_bitwise_identical():
    before = jax.tree.map(np.array, task_of("cocoop").frozen)
    run("cocoop", 3)
    after = task_of("cocoop").frozen
    same = jax.tree.map(lambda a, b: np.array_equal(a, np.asarray(b)), before, after)
    assert all(jax.tree.leaves(same))


def test_runs_of_one_seed_are_bitwise_equal_and_of_two_seeds_are_not():
    (first, losses), (second, again) = run("cocoop", 4), run("cocoop", 4)
    assert losses == again
    assert largest_difference(first.prompts, second.prompts) == 0
    assert run("cocoop", 4, seed=1)[1] != losses


def test_other_batches_of_the_same_shape_need_no_compilation():
    step, _ = step_of("coop")
    run("coop", 1)
    compiled = step.count_compiled()
    run("coop", 2, seed=3)
    assert step.count_compiled() == compiled


@pytest.mark.parametrize("name", ["cocoop", "pro_mpt"])
def test_only_a_step_that_recomputes_layers_is_compiled_to_save_memory(name, monkeypatch):
    method, optimizer = methods.get(name), step_of(name)[1]  # cached, so before the replacement
    monkeypatch.setattr(train, "sparing_options", lambda: {"xla_cpu_scheduler_type": "unknown"})

    def take_step(clip):
        task = task_of(name, clip)
        state = train.init_state(method.init(jax.random.key(0), task), optimizer)
        return train.make_step(method, optimizer)(state, task, BATCH)[1]["loss"]

    assert take_step(TINY) > 0
    with pytest.raises(jax.errors.JaxRuntimeError, match="xla_cpu_scheduler_type"):
        take_step(dataclasses.replace(TINY, memory=2**14))


def test_a_step_that_saves_memory_computes_the_same():
    name, method = "pro_mpt", methods.get("pro_mpt")
    step, optimizer = step_of(name)
    found = []
    for clip in (TINY, dataclasses.replace(TINY, memory=2**14)):
        task = task_of(name, clip)
        state = train.init_state(method.init(jax.random.key(0), task), optimizer)
        found.append(step(state, task, BATCH)[0].prompts)
    assert relative_difference(*found) <= 1e-5


def test_a_method_without_prompts_takes_a_step_that_changes_nothing():
    state, losses = run("zero_shot", 2)
    assert state.prompts == {}
    assert losses[0] == losses[1] > 0


LOGITS = jnp.log(jnp.array([[[0.5, 0.5], [0.75, 0.25]], [[0.9, 0.1], [0.2, 0.8]]]))
LABELS = jnp.array([0, 1])
FIRST, SECOND = -np.log([0.5 * 0.25, 0.9 * 0.8]) / 2  # mean cross-entropies by hand


@pytest.mark.parametrize(
    "weights, losses, expected",
    [
        ((1.0, 1.0), {}, FIRST + SECOND),
        ((0.5, 1.0), {}, FIRST / 2 + SECOND),
        ((0.0, 1.0), {}, SECOND),
        ((0.0, 1.0), {"knowledge": 0.25, "other": 1.0}, SECOND + 1.25),
    ],
)
def test_the_loss_is_the_weighted_cross_entropies_and_the_additional_terms(
    weights, losses, expected
):
    losses = {name: jnp.asarray(value) for name, value in losses.items()}
    output = Output(LOGITS, weights, losses)
    assert float(train.loss_of(output, LABELS)) == pytest.approx(expected, rel=1e-5)


def test_one_weight_per_iteration():
    with pytest.raises(ValueError):
        train.loss_of(Output(LOGITS, (1.0,)), LABELS)


def test_accuracy_is_that_of_the_last_iteration():
    logits = jnp.array([[[0.0, 1], [1, 0], [0, 1]], [[1, 0], [1, 0], [0, 1]]])
    batch = {"image": BATCH["image"], "label": jnp.array([0, 0, 0])}
    method = methods.Method(
        zero_shot.Settings,
        init=lambda rng, task: {},
        prepare=lambda prompts, task: None,
        forward=lambda prompts, prepared, task, images: Output(logits, (1.0, 1.0)),
    )
    optimizer = optim.sgd(0.1, {})
    state = train.init_state({}, optimizer)
    _, metrics = train.make_step(method, optimizer)(state, task_of("coop"), batch)
    assert float(metrics["accuracy"]) == pytest.approx(2 / 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["coop", "cocoop"])
def test_cached_features_train_like_images(name):
    method, task = methods.get(name), task_of(name)
    prompts = method.init(jax.random.key(0), task)
    kept = dict(BATCH, image=jax.jit(TINY.encode_image)(FROZEN, BATCH["image"]))

    def gradients(batch):
        def loss(prompts):
            return train.loss_and_output(method, prompts, task, batch)[0]

        return jax.jit(jax.value_and_grad(loss))(prompts)

    (value, gradient), (value_kept, gradient_kept) = gradients(BATCH), gradients(kept)
    assert float(value) == pytest.approx(float(value_kept), abs=1e-5)
    assert relative_difference(gradient_kept, gradient) <= 1e-5


def test_methods_that_prompt_the_image_tower_take_images():
    seeing = {name for name, method in methods.METHODS.items() if method.input == "images"}
    assert seeing >= {"pro_mpt", "vpt", "ivlp", "maple", "promptsrc"}
    records = methods.RECORDS["images"]
    assert seeing == {name for name in records if records[name].tunes in ("images", "both")}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cocoop", "pro_mpt on raw features"])
def test_in_bfloat16_prompts_gradients_and_logits_are_float32(name):
    """Only the frozen towers compute in bfloat16; small updates accumulate in float32."""
    method, half = methods.get(name.split()[0]), CLIP(TINY.config, jnp.dtype("bfloat16"))
    prompts = method.init(jax.random.key(0), task_of(name))

    @jax.jit
    def differentiate(prompts, task):
        return jax.value_and_grad(
            lambda prompts: train.loss_and_output(method, prompts, task, BATCH), has_aux=True
        )(prompts)

    (loss, output), gradients = differentiate(prompts, task_of(name, half))
    assert output.logits.dtype == loss.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves((prompts, gradients))} == {jnp.dtype("float32")}
    (reference, _), exact = differentiate(prompts, task_of(name))
    assert abs(float(loss - reference)) < 0.05 * abs(float(reference))
    for rough, fine in zip(jax.tree.leaves(gradients), jax.tree.leaves(exact), strict=True):
        cosine = jnp.vdot(rough, fine) / (jnp.linalg.norm(rough) * jnp.linalg.norm(fine))
        assert float(cosine) > 0.95


def test_soft_labels_replace_labels():
    logits = jax.random.normal(jax.random.key(0), (2, 3, 6))
    output = Output(logits, (0.5, 2.0), {"term": jnp.float32(0.25)})
    labels = jnp.array([0, 3, 5])
    sure = train.loss_of(output, jax.nn.one_hot(labels, 6))
    assert float(sure) == pytest.approx(float(train.loss_of(output, labels)), rel=1e-6)
    half = (jax.nn.one_hot(labels, 6) + jax.nn.one_hot(labels[::-1], 6)) / 2
    expected = (train.loss_of(output, labels) + train.loss_of(output, labels[::-1])) / 2
    assert float(train.loss_of(output, half)) == pytest.approx(float(expected), rel=1e-6)


def test_targets_of_a_batch_are_used_in_the_loss():
    task = task_of("zero_shot")
    method = methods.get("zero_shot")
    prompts = method.init(jax.random.key(0), task)
    plain, output = train.loss_and_output(method, prompts, task, BATCH)
    targets = jax.nn.one_hot(BATCH["label"], len(CLASSES))
    same, _ = train.loss_and_output(method, prompts, task, {**BATCH, "targets": targets})
    assert float(same) == pytest.approx(float(plain), rel=1e-6)
    even = jnp.full_like(targets, 1 / len(CLASSES))
    mixed, _ = train.loss_and_output(method, prompts, task, {**BATCH, "targets": even})
    expected = -jnp.mean(jax.nn.log_softmax(output.logits[-1]))
    assert float(mixed) == pytest.approx(float(expected), rel=1e-5)

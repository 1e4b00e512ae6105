"""Prompt Switch: what frames exchange, initial values, learning rates, errors."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from reference import FROZEN, TINY, largest_difference, relative_difference
from switch_rows import BATCH, FIGURES, METHOD, features, measure, start_of, task_of
from video_rows import VIDEOS

from prompt_jax import methods
from prompt_jax.clip import CLIP
from prompt_jax.errors import PromptError
from prompt_jax.methods.recipe import average_steps
from prompt_jax.methods.video import prompt_switch, tuned
from prompt_jax.training import optim, train


@pytest.mark.parametrize("number", [1, 2, 4])
def test_a_prompt_sees_the_frame_that_it_is_a_prompt_of(number):
    """Prompt j of frame i is among the tokens of frame j of the chunk, and of no other."""
    frames, width = 4, 3
    tokens = jnp.zeros((1, frames, 1 + number + 2, width))
    for frame in range(frames):
        for slot in range(number):
            where = jnp.zeros_like(tokens).at[0, frame, 1 + slot].set(1)
            seen = np.argwhere(np.asarray(prompt_switch.switch(where, number))[0, ..., 0])
            chunk, inside = divmod(frame, number)
            assert seen.tolist() == [[chunk * number + slot, 1 + inside]]
    mixed = jax.random.normal(jax.random.key(0), tokens.shape)
    twice = prompt_switch.switch(prompt_switch.switch(mixed, number), number)
    assert largest_difference(twice, mixed) == 0
    rest = prompt_switch.switch(mixed, number)
    assert largest_difference(rest[:, :, 0], mixed[:, :, 0]) == 0
    assert largest_difference(rest[:, :, 1 + number :], mixed[:, :, 1 + number :]) == 0


def test_the_order_of_frames_has_no_effect_if_the_prompts_move_with_them():
    task = task_of(4)
    prompts = start_of(task, FIGURES["prompt_switch"]["param"])
    order = jnp.array([2, 0, 3, 1])
    moved = prompts | {"prompt_cube": prompts["prompt_cube"][order][:, order]}
    here, there = features(task, prompts), features(task, moved, VIDEOS[:, order])
    assert largest_difference(there, here[:, order]) <= 1e-5
    assert largest_difference(features(task, prompts, VIDEOS[:, order]), here[:, order]) > 1e-3


def test_before_the_last_attention_frames_exchange_within_their_chunk_only():
    task = task_of(2)
    prompts = start_of(task, FIGURES["prompt_switch_chunks"]["param"])

    @jax.jit
    def reach(videos):
        def of(frame):
            return jax.grad(lambda v: prompt_switch.run_layers(prompts, task, v)[:, frame].sum())

        return jnp.stack([jnp.abs(of(n)(videos)).sum(axis=(0, 2, 3, 4)) for n in range(4)])

    chunks = np.kron(np.eye(2), np.ones((2, 2)))
    assert np.array_equal(np.asarray(reach(VIDEOS)) > 0, chunks > 0)


def test_one_prompt_exchanges_nothing_and_no_output_changes_nothing_behind_the_layers():
    """One frame a chunk and an attention that returns zero: each frame is encoded by itself."""
    task = task_of(1)
    prompts = METHOD.init(jax.random.key(1), task)
    alone = jnp.concatenate([features(task, prompts, VIDEOS[:, n : n + 1]) for n in range(4)], 1)
    assert largest_difference(features(task, prompts), alone) <= 1e-5
    cube = prompts["prompt_cube"]
    deep = jnp.concatenate([cube[0], jnp.zeros((0, 64))])
    tokens = TINY.embed_image(FROZEN, VIDEOS)
    slots = jnp.broadcast_to(deep, (*tokens.shape[:2], *deep.shape))
    tokens = jnp.concatenate([tokens, slots], axis=2)
    plain = jax.jit(TINY.encode_tokens)(FROZEN, tokens)
    assert largest_difference(features(task, prompts), plain) <= 1e-5


def test_the_initial_values_are_the_published_ones():
    clip = CLIP(dataclasses.replace(TINY.config, image_width=768, image_heads=12))
    frozen = jax.eval_shape(clip.init, jax.random.key(0))
    task = dataclasses.replace(task_of(6), clip=clip)
    prompts = jax.eval_shape(
        lambda f: METHOD.init(jax.random.key(0), task.replace(frozen=f)), frozen
    )
    assert prompts["prompt_cube"].shape == (6, 6, 768)
    task = task_of(6, captioner=True)
    prompts = METHOD.init(jax.random.key(0), task)
    assert float(jnp.std(prompts["prompt_cube"])) == pytest.approx(0.02 / 8, rel=0.1)
    assert not np.any(prompts["attention"]["out"]["kernel"])
    bound = float(jnp.abs(prompts["attention"]["query"]["kernel"]).max())
    assert bound == pytest.approx((6 / 256) ** 0.5, rel=0.01)
    table = FROZEN["text"]["token_embedding"]
    assert largest_difference(prompts["captioner"]["head"]["kernel"].T, table) == 0
    assert largest_difference({name: prompts[name] for name in FROZEN}, FROZEN) == 0


def test_with_class_names_there_is_no_captioner():
    method = methods.recognize(prompt_switch.ENCODERS)
    settings = prompt_switch.Settings(prompts=2)
    task = methods.make_task(method, TINY, FROZEN, ["cat", "sea horse"], settings)
    prompts = method.init(jax.random.key(0), task)
    assert prompts.keys() == {*FROZEN, "prompt_cube", "attention"}
    output = jax.jit(method.forward)(prompts, method.prepare(prompts, task), task, VIDEOS)
    assert output.logits.shape == (1, 3, 2) and not output.losses


def test_the_parts_have_the_published_rates_and_the_scale_a_bound():
    task = task_of(2, captioner=True)
    prompts = METHOD.init(jax.random.key(0), task)
    rates = METHOD.trains(prompts, task.settings)
    for name, rate in {"image": 0.1, "attention": 0.1, "prompt_cube": 1, "captioner": 1}.items():
        assert set(jax.tree.leaves(rates[name])) == {rate}
    optimizer = METHOD.optimizer(optim.sgd(1.0, rates), task.settings, 1, 1)
    gradients = jax.tree.map(lambda x: -jnp.ones_like(x), prompts)
    updates, _ = optimizer.update(gradients, optimizer.init(prompts), prompts)
    scale = optax.apply_updates(prompts, updates)["logit_scale"]
    assert float(scale) <= np.float32(tuned.HIGHEST_SCALE)


def test_the_average_over_steps_is_the_result():
    rule = average_steps(optax.sgd(1.0), 0.75)
    params = {"x": jnp.array([4.0])}
    state = rule.init(params)
    expected = 4.0
    for _ in range(3):
        updates, state = rule.update({"x": jnp.ones(1)}, state, params)
        params = optax.apply_updates(params, updates)
        expected = 0.75 * expected + 0.25 * float(params["x"][0])
    done = train.State(params, state, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))
    assert float(train.result(done)["x"][0]) == pytest.approx(expected)
    settings = prompt_switch.Settings(average_decay=0.9999)
    kept = METHOD.optimizer(optax.sgd(1.0), settings, 1, 1).init({"logit_scale": jnp.zeros(())})
    assert float(kept.average["logit_scale"]) == 0


@pytest.mark.slow
def test_scanned_layers_and_a_small_memory_budget_change_no_value():
    task = task_of(2, captioner=True)
    prompts = METHOD.init(jax.random.key(0), task)
    (_, output), gradients = measure(prompts, task, BATCH)
    for changed in ({"scan_layers": True}, {"memory": 1}):
        clip = dataclasses.replace(TINY, **changed)
        other = dataclasses.replace(task, clip=clip, frozen=clip.arrange(FROZEN, exact=True))
        (_, again), theirs = measure(prompts, other, BATCH)
        assert largest_difference(again.logits, output.logits) <= 1e-4
        for one, two in zip(jax.tree.leaves(gradients), jax.tree.leaves(theirs), strict=True):
            assert largest_difference(one, two) <= 1e-4 * max(1e-3, float(jnp.abs(one).max()))


def test_bfloat16_is_close_to_float32():
    task = task_of(2)
    prompts = start_of(task, FIGURES["prompt_switch_chunks"]["param"])
    half = dataclasses.replace(task, clip=CLIP(TINY.config, jnp.dtype("bfloat16")))
    run = jax.jit(prompt_switch.encode_videos)
    rough = run(prompts, half, VIDEOS)
    assert rough.dtype == jnp.float32
    assert relative_difference(rough, run(prompts, task, VIDEOS)) < 0.1


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lambda: prompt_switch.Settings(prompts=0), "settings.prompts=0 must be at least 1"),
        (lambda: prompt_switch.Settings(chunk_attention="clips"), "Did you mean 'clip'"),
        (lambda: prompt_switch.Settings(average_decay=1.0), "average_decay=1.0 must be below 1"),
        (lambda: prompt_switch.Settings(frequent_weight=0.0), "frequent_weight=0 leaves captions"),
        (
            lambda: features(task_of(3), METHOD.init(jax.random.key(0), task_of(3))),
            "videos of 4 frames, but settings.prompts=3: use a multiple of 3 frames",
        ),
        (
            lambda: methods.check_frame_groups(METHOD, prompt_switch.Settings(), 8, "frames"),
            "frames=8: with these settings .* multiple of 6 frames; use 6",
        ),
    ],
)
def test_invalid_settings_are_rejected(build, match):
    with pytest.raises(PromptError, match=match):
        build()

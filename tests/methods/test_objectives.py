"""Training of encoders on captions or class names, and image methods on videos."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from reference import BATCH, CLASSES, FROZEN, TINY, largest_difference, relative_difference
from rows import BY_FIGURES as IMAGE_ROWS
from rows import arrays
from video_rows import BY_FIGURES, FIGURES, VIDEOS, batch_of, prompts_of, task_of

from prompt_jax import methods
from prompt_jax.clip.packing import stack
from prompt_jax.errors import PromptError
from prompt_jax.methods import average_frames, encoders, objectives
from prompt_jax.methods.video import tuned, vop
from prompt_jax.training import optim, train

VIDEO = "a video of a person doing {}."


@pytest.mark.parametrize("in_turn", [False, True])
def test_parallel_runs_equal_separate_ones(in_turn):
    row = BY_FIGURES["vop"]
    method, task, batch = methods.retrieve(vop.ENCODERS), task_of(row), batch_of(row)
    starts = [jax.tree.map(lambda x, k=k: k * x, prompts_of(row)) for k in (1.0, 2.0)]
    build = functools.partial(optim.sgd, trains=method.trains(starts[0], row.settings))
    rates = jnp.array([0.1, 0.2])
    batches = [batch | {"image": VIDEOS}, batch | {"image": VIDEOS[:, ::-1] * 0.5}]
    states = [train.init_state(start, build(0.1)) for start in starts]
    together = jax.tree.map(lambda *x: jnp.stack(x), *states)
    stacked = {key: jnp.stack([one[key] for one in batches]) for key in ("image", "label")}
    stacked["text"] = stack([one["text"] for one in batches])
    step = train.make_parallel_step(method, build, in_turn)
    ended, metrics = step(together, task, stacked, rates)
    for run in range(2):
        alone = train.make_step(method, build(rates[run]))
        state, own = alone(states[run], task, batches[run])
        assert float(metrics["loss"][run]) == pytest.approx(float(own["loss"]), rel=1e-5)
        moved = jax.tree.map(lambda x, run=run: x[run], ended.prompts)
        assert relative_difference(moved, state.prompts) <= 1e-5


def test_constraints_hold_after_every_step():
    full = methods.get_encoders("full")
    assert full.optimizer is tuned.bound_scale
    method = methods.retrieve(full)
    settings = method.Settings()
    task = methods.make_task(method, TINY, FROZEN, (), settings)
    start = method.init(jax.random.key(0), task)
    start = start | {"logit_scale": jnp.float32(np.log(100) - 1e-6)}
    rule = optim.sgd(0.1, method.trains(start, settings))
    bound = float(np.float32(np.log(100)))
    gradients = jax.tree.map(lambda leaf: -jnp.ones_like(leaf), start)
    free, held = rule, method.optimizer(rule, settings, 1, 1)
    moved = [apply(one, gradients, start) for one in (free, held)]
    assert float(moved[0]["logit_scale"]) > bound == float(moved[1]["logit_scale"])
    others = [jax.tree.leaves(one | {"logit_scale": 0.0}) for one in moved]
    assert all(np.array_equal(*pair) for pair in zip(*others, strict=True))
    lower = [apply(one, jax.tree.map(jnp.negative, gradients), start) for one in (free, held)]
    assert float(lower[0]["logit_scale"]) == float(lower[1]["logit_scale"]) < bound


def apply(optimizer, gradients, prompts):
    """Returns the prompts after one step."""
    updates, _ = optimizer.update(gradients, optimizer.init(prompts), prompts)
    return optax.apply_updates(prompts, updates)


@pytest.mark.parametrize(
    "renormalize, name",
    [(True, "mean_of_normalised"), (False, "mean_of_normalised_not_renormalised")],
)
def test_class_names_against_videos(renormalize, name):
    method = methods.recognize(methods.get_encoders("zero_shot"))
    settings = encoders.VideoSettings(renormalize_video=renormalize)
    task = methods.make_task(method, TINY, FROZEN, CLASSES, settings, VIDEO)
    output = jax.jit(method.forward)({}, method.prepare({}, task), task, VIDEOS)
    assert largest_difference(output.logits[0], FIGURES["clip_video"][f"logits_{name}"]) <= 1e-4


def test_class_names_train_prompts_in_both_towers():
    method, settings = methods.recognize(vop.ENCODERS), vop.Settings(text_prompts=4)
    task = methods.make_task(method, TINY, FROZEN, CLASSES, settings, VIDEO)
    prompts = method.init(jax.random.key(0), task)
    optimizer = optim.sgd(0.01, method.trains(prompts, settings))
    step = train.make_step(method, optimizer)
    batch = {"image": VIDEOS, "label": jnp.array([1, 4, 1])}
    state, first = step(train.init_state(prompts, optimizer), task, batch)
    state, second = step(state, task, batch)
    assert float(second["loss"]) < float(first["loss"])


def test_a_class_with_a_too_long_text_is_rejected():
    method = objectives.recognize(vop.ENCODERS)
    with pytest.raises(
        PromptError, match="class 'very long very .* takes 87 tokens, 60 of them the prompts'"
    ):
        settings = vop.Settings(text_prompts=60)
        methods.make_task(method, TINY, FROZEN, ["cat", "very long " * 9], settings, VIDEO)


def test_zero_shot_with_images_on_videos_equals_vifi_clip():
    method = methods.get("zero_shot")
    task = methods.make_task(
        method, average_frames(TINY), FROZEN, CLASSES, method.Settings(), VIDEO
    )
    seen = jax.jit(functools.partial(methods.encode_input, method))(task, VIDEOS)
    logits = method.forward({}, None, task, seen).logits[0]
    assert largest_difference(logits, FIGURES["clip_video"]["logits"]) <= 1e-4


@pytest.mark.parametrize("figures", ["vpt_deep", "maple", "cocoop", "pro_mpt"])
def test_an_image_method_on_a_video_of_one_image_equals_that_image(figures):
    row = IMAGE_ROWS[figures]
    method, prompts = methods.get(row.method), arrays(row, "param")
    videos = jnp.repeat(BATCH["image"][:, None], 3, axis=1)

    @jax.jit
    def logits(prompts, task, images):
        seen = methods.encode_input(method, task, images)
        return method.forward(prompts, method.prepare(prompts, task), task, seen).logits

    answers: list[Any] = []
    for clip, images in ((TINY, BATCH["image"]), (average_frames(TINY), videos)):
        task = methods.make_task(method, clip, FROZEN, CLASSES, row.settings)
        answers.append(logits(prompts, task, images))
    assert largest_difference(*answers) <= 1e-4

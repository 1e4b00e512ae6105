"""Properties of EZ-CLIP: further arrays of the figures, its loss, frames, texts of classes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from action_rows import BY_FIGURES, FIGURES, batch_of, method_of, prompts_of, task_of
from reference import CLASSES, FROZEN, TINY, largest_difference
from video_rows import VIDEOS

from prompt_jax import methods
from prompt_jax.clip import normalize
from prompt_jax.errors import PromptError
from prompt_jax.methods import objectives
from prompt_jax.methods.video import ez_clip
from prompt_jax.text import text_files
from prompt_jax.training import train

ROW = BY_FIGURES["ez_clip"]
EXPECTED = FIGURES["ez_clip"]
ENCODE = jax.jit(ez_clip.encode_frames)


def task_with(texts=None, **settings):
    """Returns (method, task) with texts of the six classes, one each by default."""
    method = method_of(ROW)
    content = texts or {name: [f"someone is {name}."] for name in CLASSES}
    given = dataclasses.replace(ROW.settings, **settings)
    texts = text_files.from_content(content, "classes")
    return method, methods.make_task(method, TINY, FROZEN, CLASSES, given, texts=texts)


def test_features_and_terms_equal_the_reference():
    prompts, task, batch = prompts_of(ROW), task_of(ROW), batch_of(ROW)
    frames = ENCODE(prompts, task, VIDEOS)
    assert largest_difference(frames, EXPECTED["frame_features"]) <= 1e-5
    texts = jax.jit(method_of(ROW).prepare)(prompts, task)
    assert largest_difference(texts, normalize(jnp.asarray(EXPECTED["text_features"]))) <= 1e-6
    motion = ez_clip.motion_loss(frames)
    assert float(motion) == pytest.approx(float(EXPECTED["motion_loss"]), abs=1e-6)
    pairs = EXPECTED["pair_logits"]
    both = (EXPECTED["loss_v2t"] + EXPECTED["loss_t2v"]) / 2
    found = objectives.contrast_classes(jnp.asarray(pairs), batch["label"])
    assert float(found) == pytest.approx(float(both), abs=1e-5)


def test_the_text_tower_starts_as_clip_s_and_adapters_change_it():
    method, task = task_with()
    prompts = method.init(jax.random.key(0), task)
    plain = methods.recognize(methods.get_encoders("clip_video"))
    plain_task = methods.make_task(
        plain, TINY, FROZEN, CLASSES, plain.Settings(template="someone is {}.")
    )
    plain_task = dataclasses.replace(plain_task, constants=task.constants)
    expected = plain.prepare({}, plain_task)
    assert largest_difference(method.prepare(prompts, task), expected) <= 1e-6
    moved = prompts | {"text": prompts_of(ROW)["text"]}
    assert largest_difference(method.prepare(moved, task), expected) > 1e-3


def test_a_frame_sees_the_others_through_the_temporal_prompts_only():
    prompts, task = prompts_of(ROW), task_of(ROW)

    def read(videos, frame):
        return jnp.sum(ez_clip.encode_frames(prompts, task, videos)[:, frame] ** 2)

    seen = jnp.abs(jax.jit(jax.grad(read))(VIDEOS, 0)).sum(axis=(0, 2, 3, 4))
    assert float(seen.min()) > 0
    alone = ENCODE(prompts, task, jnp.repeat(VIDEOS[:, :1], VIDEOS.shape[1], axis=1))
    assert largest_difference(alone[:, 0], ENCODE(prompts, task, VIDEOS)[:, 0]) > 1e-3


def test_the_order_of_frames_matters_by_the_temporal_prompts():
    prompts, task = prompts_of(ROW), task_of(ROW)
    order = jnp.array([2, 0, 3, 1])
    encode = jax.jit(ez_clip.encode_videos)
    same = encode(prompts, task, VIDEOS)
    assert largest_difference(same, encode(prompts, task, VIDEOS[:, order])) > 1e-3
    table = prompts["temporal_prompts"][:, :1]
    shared = prompts | {"temporal_prompts": jnp.broadcast_to(table, (3, 4, 64))}
    found = [encode(shared, task, videos) for videos in (VIDEOS, VIDEOS[:, order])]
    assert largest_difference(*found) <= 1e-5


def test_the_motion_term_is_largest_for_videos_that_do_not_move():
    frames = jax.random.normal(jax.random.key(0), (2, 5, 8))
    still = jnp.broadcast_to(frames[:, :1], frames.shape)
    assert float(ez_clip.motion_loss(still)) == 1
    assert float(ez_clip.motion_loss(frames[:, :1])) == 1
    assert float(ez_clip.motion_loss(2 * frames)) < float(ez_clip.motion_loss(frames)) < 1
    moves = jnp.arange(4.0)[None, :, None]  # changes by 1; at the ends by a half
    expected = 1 / (1 + (0.5 + 1 + 1 + 0.5) / 4 + np.var(np.arange(4), ddof=1))
    assert float(ez_clip.motion_loss(moves)) == pytest.approx(expected)
    losses = {}
    for weight in (0.0, 1.0, 3.0):
        task = task_of(ROW, dataclasses.replace(ROW.settings, motion_weight=weight))
        losses[weight], _ = train.loss_and_output(
            method_of(ROW), prompts_of(ROW), task, batch_of(ROW)
        )
    motion = float(EXPECTED["motion_loss"])
    assert float(losses[1] - losses[0]) == pytest.approx(motion, abs=1e-5)
    assert float(losses[3] - losses[0]) == pytest.approx(3 * motion, abs=1e-5)


def test_videos_of_one_class_are_not_told_apart():
    labels = jnp.array([0, 1, 0])
    right = jnp.where(labels[:, None] == labels, 10.0, 0.0)
    assert float(objectives.contrast_classes(right, labels)) == pytest.approx(0, abs=1e-6)
    apart = jnp.where(jnp.eye(3, dtype=bool), 10.0, 0.0)
    assert float(objectives.contrast_classes(apart, labels)) > 1


def test_several_texts_of_a_class_are_averaged():
    several = {name: [f"{name}.", f"someone is {name}."] for name in CLASSES}
    method, task = task_with(several)
    prompts = prompts_of(ROW)
    first, second = (
        method.prepare(prompts, task_with({name: [one[n]] for name, one in several.items()})[1])
        for n in (0, 1)
    )
    found = method.prepare(prompts, task)
    assert largest_difference(found, normalize((first + second) / 2)) <= 1e-6
    with pytest.raises(PromptError, match="no text of class"):
        task_with(several | {CLASSES[0]: []})


def test_other_numbers_of_frames_and_mixed_videos_are_rejected():
    with pytest.raises(PromptError, match="videos of 3 frames, but there are temporal prompts"):
        ez_clip.encode_frames(prompts_of(ROW), task_of(ROW), VIDEOS[:, :3])
    mixed = batch_of(ROW) | {"targets": jnp.full((3, 6), 1 / 6)}
    with pytest.raises(PromptError, match="data.mix=False"):
        train.loss_and_output(method_of(ROW), prompts_of(ROW), task_of(ROW), mixed)
    for field in ("frames", "reduction"):
        with pytest.raises(PromptError, match=f"settings.{field}=0 must be at least 1"):
            ez_clip.Settings(**{field: 0})

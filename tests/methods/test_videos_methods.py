"""Properties of video methods: attention between frames, settings, and errors."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import pytest
from reference import FROZEN, TINY, largest_difference, relative_difference
from video_rows import (
    BY_FIGURES,
    FRAMES,
    VIDEOS,
    VideoRow,
    batch_of,
    prompts_of,
    task_of,
)

from prompt_jax import methods
from prompt_jax.clip import CLIP
from prompt_jax.errors import PromptError
from prompt_jax.methods import encoders
from prompt_jax.methods.video import adapters, vop, vop_c, vop_f, vop_p
from prompt_jax.prompts import encode_prompted_image
from prompt_jax.training import train

TRANSFORMER = vop_c.Settings(context_prompts=2, context_module="transformer")


@functools.partial(jax.jit, static_argnums=0)
def encode(encode_videos, prompts, task, videos):
    """Returns video features float32[B, d]."""
    return encode_videos(prompts, task, videos)


def features(row, videos=VIDEOS, prompts=None, **changed):
    """Returns features with the parameters of the row's figures and these settings changed."""
    prompts = prompts_of(row) if prompts is None else prompts
    run = methods.get_encoders(row.method).encode_videos
    return encode(run, prompts, task_of(row, **changed), videos)


def fresh(name, settings, clip=TINY):
    """Returns (initial prompts, task) of a method on captions."""
    method = methods.retrieve(methods.get_encoders(name))
    task = methods.make_task(method, clip, FROZEN, (), settings)
    return method.init(jax.random.key(0), task), task


def shuffled_distance(row):
    """Returns how much the features of videos change if their frames are shuffled."""
    return largest_difference(features(row), features(row, VIDEOS[:, jnp.array([2, 0, 3, 1])]))


@pytest.mark.parametrize("name", ["vop", "vop_f", "vop_proj", "vop_adapter_attn"])
def test_without_positions_the_order_of_frames_has_no_effect(name):
    assert shuffled_distance(BY_FIGURES[name]) <= 1e-5


@pytest.mark.parametrize("name", ["vop_p", "vop_c", "vop_f_position", "vop_f_p", "vop_f_c"])
def test_positions_and_contexts_depend_on_the_order_of_frames(name):
    assert shuffled_distance(BY_FIGURES[name]) > 1e-3


@pytest.mark.parametrize("method, alone", [(vop_p, True), (vop_c, False)])
def test_prompts_of_a_frame_affect_only_that_frame_unless_made_from_all(method, alone):
    row = BY_FIGURES["vop_p" if method is vop_p else "vop_c"]
    prompts, task = prompts_of(row), task_of(row)

    @jax.jit
    def reach(prompts, videos):
        def of_frame(frame):
            def read(prompts, videos):
                return jnp.sum(
                    vop.run_frames(method.layer_inputs, prompts, task, videos)[:, frame] ** 2
                )

            return jax.grad(read, argnums=(0, 1))(prompts, videos)

        return [of_frame(frame) for frame in range(FRAMES)]

    for frame, (by_prompts, by_videos) in enumerate(reach(prompts, VIDEOS)):
        others = jnp.array([other for other in range(FRAMES) if other != frame])
        if alone:
            by_frame = jnp.abs(by_prompts["position_prompts"]).sum(axis=(0, 2, 3))
            assert float(by_frame[frame]) > 0
            assert float(by_frame[others].max()) == 0
        seen = jnp.abs(by_videos).sum(axis=(0, 2, 3, 4))
        assert bool((seen[others] == 0).all()) == alone


def test_prompts_in_all_layers_equal_deep_prompts_that_are_overwritten():
    row = BY_FIGURES["vop"]
    prompts = prompts_of(row)["vision_prompts"]
    deep = jax.jit(encode_prompted_image, static_argnums=0)(TINY, FROZEN, VIDEOS, prompts)
    assert largest_difference(features(row), encoders.pool_frames(deep, row.settings)) <= 1e-5


def test_after_their_depth_no_prompt_slots_remain():
    row = BY_FIGURES["vop"]
    prompts = {"vision_prompts": prompts_of(row)["vision_prompts"][:2]}

    @jax.jit
    def dropped(prompts, videos):
        tokens = TINY.embed_image(FROZEN, videos, prompts[0])
        tokens = TINY.image_block(FROZEN, 0, tokens, queries=17)
        own = jnp.broadcast_to(prompts[1], (*tokens.shape[:2], *prompts[1].shape))
        tokens = TINY.image_block(FROZEN, 1, jnp.concatenate([tokens, own], axis=-2), queries=17)
        return TINY.image_head(FROZEN, TINY.image_block(FROZEN, 2, tokens))

    expected = encoders.pool_frames(dropped(prompts["vision_prompts"], VIDEOS), row.settings)
    assert largest_difference(features(row, prompts=prompts, depth=2), expected) <= 1e-5
    prompts, _ = fresh("vop", vop.Settings(depth=2))
    assert [len(prompts[name]) for name in ("text_prompts", "vision_prompts")] == [2, 2]


def test_a_tower_without_prompts_equals_the_frozen_one():
    plain = VideoRow("zero_shot", encoders.VideoSettings(renormalize_video=False), "")
    vision_only, _ = fresh("vop", vop.Settings(text_prompts=0))
    assert vision_only.keys() == {"vision_prompts"}
    text_only, task = fresh("vop", vop.Settings(vision_prompts=0, renormalize_video=False))
    assert text_only.keys() == {"text_prompts"}
    seen = encode(vop.ENCODERS.encode_videos, text_only, task, VIDEOS)
    assert largest_difference(seen, features(plain, prompts={})) <= 1e-6


@pytest.mark.parametrize("layers, joint", [(12, 8), (24, 16), (6, 4), (4, 3), (3, 2), (2, 1)])
def test_two_thirds_of_the_layers_attend_within_frames(layers, joint):
    assert vop_f.Settings().frame_layers(layers) == joint
    assert vop_f.Settings(per_frame_layers=12).frame_layers(layers) == layers
    assert vop_f.Settings(per_frame_layers=0).frame_layers(layers) == 0


def test_without_joint_layers_f_equals_the_method_without_it():
    _, task = fresh("vop_f", vop_f.Settings(per_frame_layers=12))
    prompts, plain_task = fresh("vop", vop.Settings())
    joint, _ = fresh("vop_f", vop_f.Settings(per_frame_layers=12))
    assert joint.keys() == prompts.keys()
    together = encode(vop_f.ENCODERS.encode_videos, prompts, task, VIDEOS)
    apart = encode(vop.ENCODERS.encode_videos, prompts, plain_task, VIDEOS)
    assert largest_difference(together, apart) <= 1e-5


def test_all_layers_may_attend_to_the_whole_video():
    prompts, task = fresh("vop_f", vop_f.Settings(per_frame_layers=0, frames=FRAMES))
    assert prompts.keys() == {"text_prompts", "video_prompts", "frame_position"}
    assert encode(vop_f.ENCODERS.encode_videos, prompts, task, VIDEOS).shape == (3, 32)


@pytest.mark.parametrize("name", ["vop_p", "vop_f_position"])
def test_a_number_of_frames_that_differs_from_the_rows_is_rejected(name):
    with pytest.raises(PromptError, match=r"videos of 3 frames, but there are .* for 4"):
        features(BY_FIGURES[name], VIDEOS[:, :3])


@pytest.mark.parametrize("name", ["vop", "vop_c", "vop_f"])
def test_any_number_of_frames_is_accepted_without_rows_per_frame(name):
    assert features(BY_FIGURES[name], VIDEOS[:, :3]).shape == (3, 32)


@pytest.mark.parametrize(
    "settings, keys, width",
    [
        (vop_c.Settings(context_module="lstm"), {"lstm", "fc"}, (4 * 64, 64)),
        (vop_c.Settings(context_role="class_tokens"), {"lstm", "fc"}, (64, 128)),
        (TRANSFORMER, {"transformer", "fc"}, (2 * 64, 64)),
    ],
)
def test_other_context_modules_and_roles_change_the_features(settings, keys, width):
    prompts, task = fresh("vop_c", settings)
    assert prompts.keys() == keys | {"text_prompts", "vision_prompts"}
    assert prompts["fc"]["weight"].shape == width
    seen = encode(vop_c.ENCODERS.encode_videos, prompts, task, VIDEOS)
    changed = prompts | {"fc": jax.tree.map(jnp.negative, prompts["fc"])}
    moved = encode(vop_c.ENCODERS.encode_videos, changed, task, VIDEOS)
    assert largest_difference(seen, moved) > 1e-4


@pytest.mark.slow
def test_the_context_can_be_excluded_from_the_gradient():
    row = BY_FIGURES["vop_c"]
    run = methods.get_encoders("vop_c").encode_videos

    @jax.jit
    def gradient(prompts, task):
        return jax.grad(lambda prompts: jnp.sum(run(prompts, task, VIDEOS)[..., 0]))(prompts)

    free, held = (
        gradient(prompts_of(row), task_of(row, context_gradient=g)) for g in (True, False)
    )
    assert relative_difference(held["vision_prompts"], free["vision_prompts"]) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vop_f_c_position", "vop_full"])
def test_a_small_memory_budget_changes_no_value(name):
    row = BY_FIGURES[name]
    method = methods.retrieve(methods.get_encoders(row.method))

    @jax.jit
    def gradients(prompts, task, batch):
        return jax.grad(lambda p: train.loss_and_output(method, p, task, batch)[0])(prompts)

    task = task_of(row)
    little = dataclasses.replace(task, clip=CLIP(TINY.config, memory=1))
    enough, twice = (gradients(prompts_of(row), each, batch_of(row)) for each in (task, little))
    for one, other in zip(jax.tree.leaves(enough), jax.tree.leaves(twice), strict=True):
        assert largest_difference(one, other) <= 1e-4 * max(1e-3, float(jnp.abs(one).max()))


def test_bfloat16_is_close_to_float32():
    row = BY_FIGURES["vop_adapter_ffn"]
    half = dataclasses.replace(task_of(row), clip=CLIP(TINY.config, jnp.dtype("bfloat16")))
    run = methods.get_encoders(row.method).encode_videos
    rough = encode(run, prompts_of(row), half, VIDEOS)
    assert rough.dtype == jnp.float32
    assert largest_difference(rough, features(row)) < 0.05


def test_fine_tuned_parts_start_as_a_copy_of_the_backbone():
    prompts, task = fresh("full", encoders.VideoSettings())
    assert largest_difference(prompts, FROZEN) == 0
    for ours, theirs in zip(jax.tree.leaves(prompts), jax.tree.leaves(task.frozen), strict=True):
        assert ours.unsafe_buffer_pointer() != theirs.unsafe_buffer_pointer()


def test_a_method_of_the_other_kind_is_rejected_by_name():
    with pytest.raises(PromptError, match="'vop_f_p' works on videos and texts.*Use one of .*vpt"):
        methods.get("vop_f_p")
    with pytest.raises(PromptError, match="'coop' classifies images.*Use one of .*vop_c"):
        methods.get_encoders("coop")
    with pytest.raises(PromptError, match="Did you mean 'vop_p'"):
        methods.get_encoders("vop_pp")


@pytest.mark.parametrize(
    "build, match",
    [
        (lambda: vop.Settings(depth=-1), "settings.depth=-1 must be at least 0"),
        (lambda: vop.Settings(text_prompts=-1), "settings.text_prompts=-1"),
        (lambda: vop_p.Settings(position_prompts=0), "settings.position_prompts=0"),
        (lambda: vop_f.PositionSettings(frames=0), "settings.frames=0"),
        (lambda: vop_f.Settings(per_frame_layers=13), "per_frame_layers=13 must be from 0 to 12"),
        (lambda: vop_c.Settings(context_module="gru"), "unknown settings.context_module 'gru'"),
        (lambda: vop_f.ContextSettings(context_role="prompt"), "Did you mean 'prompts'"),
        (lambda: adapters.Settings(adapter_input="norm"), "Did you mean 'normed'"),
        (lambda: adapters.MlpSettings(hidden=0), "settings.hidden=0"),
    ],
)
def test_invalid_settings_are_rejected(build, match):
    with pytest.raises(PromptError, match=match):
        build()

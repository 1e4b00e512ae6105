"""Properties of action recognition methods: coupling, the scenario-guided loss, frames."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from action_rows import BY_FIGURES, FIGURES, batch_of, method_of, prompts_of, task_of
from reference import BATCH, CLASSES, FROZEN, TINY, largest_difference, relative_difference
from test_actions import logits_of, measure
from video_rows import CAPTIONS, VIDEOS

from prompt_jax import methods
from prompt_jax.clip import CLIP, normalize, tokenizer
from prompt_jax.clip.packing import pack_captions
from prompt_jax.clip.vocabulary.captions import tokenize_captions
from prompt_jax.errors import PromptError
from prompt_jax.evaluation import evaluate
from prompt_jax.methods import actions, average_frames, encoders
from prompt_jax.methods.method import describe_classes
from prompt_jax.methods.video import (
    a5,
    clip_video,
    vifi_clip,
    vifi_vl_prompting,
    vilt_clip,
    vilt_independent,
    vilt_multimodal,
)
from prompt_jax.prompts import encode_embedded
from prompt_jax.training import train

SHUFFLED = VIDEOS[:, jnp.array([2, 0, 3, 1])]


def features(row, videos=VIDEOS):
    """Returns the features of videos, with the parameters of the row's figures."""
    run = jax.jit(methods.get_encoders(row.method).encode_videos)
    return run(prompts_of(row), task_of(row), videos)


def task_with(name, settings, names=CLASSES, clip=TINY):
    """Returns (method, task) of class names with these settings."""
    method = methods.recognize(methods.get_encoders(name))
    return method, methods.make_task(method, clip, FROZEN, names, settings)


def embed(words):
    """Returns the embeddings of the words' tokens, float32[n, d_l]."""
    return TINY.embed_text(FROZEN, jnp.asarray(tokenizer.encode(words)))


def test_zero_weight_removes_the_scenario_guided_loss():
    plain = BY_FIGURES["vilt_multimodal"]
    row = BY_FIGURES["vilt_clip"]
    row = row._replace(settings=dataclasses.replace(row.settings, sg_weight=0.0))
    prompts, batch = prompts_of(row), batch_of(row)
    (one, output), gradients = measure(method_of(row))(prompts, task_of(row), batch)
    (other, its), theirs = measure(method_of(plain))(prompts, task_of(plain), batch)
    assert float(one) == float(other) and not output.losses
    assert largest_difference(output.logits, its.logits) == 0
    assert largest_difference(gradients, theirs) == 0


def test_zero_weight_removes_the_loss_for_captions_too():
    row = BY_FIGURES["vilt_clip_retrieval"]
    loss, logits = logits_of(row, dataclasses.replace(row.settings, sg_weight=0.0))
    expected = FIGURES["vilt_retrieval"]
    assert loss == pytest.approx(float(expected["loss"]), abs=5e-5)
    assert largest_difference(logits, expected["logits"]) <= 1e-4


@pytest.mark.parametrize("of_captions", [False, True])
def test_the_scenario_guided_loss_equals_the_reference(of_captions):
    row = BY_FIGURES["vilt_clip_retrieval" if of_captions else "vilt_clip"]
    run = jax.jit(functools.partial(train.loss_and_output, method_of(row)))
    _, output = run(prompts_of(row), task_of(row), batch_of(row))
    expected = 8 * float(FIGURES[row.figures]["sg"])
    assert float(output.losses["scenario"]) == pytest.approx(expected, abs=1e-5)


def test_the_scenario_guided_loss_is_zero_for_the_template_s_features():
    words = embed("a video of a person doing")
    settings = vilt_clip.Settings(prompts=len(words), depth=1)
    method, task = task_with("vilt_clip", settings)
    prompts = method.init(jax.random.key(0), task)
    prompts |= {"text_prompts": words[None]}
    forward = jax.jit(functools.partial(train.loss_and_output, method))
    _, output = forward(prompts, task, {"image": VIDEOS, "label": BATCH["label"]})
    assert abs(float(output.losses["scenario"])) <= 1e-5
    assert float(jnp.linalg.norm(task.constants.plain - method.prepare(prompts, task))) <= 1e-5


def test_the_scenario_guided_loss_uses_the_template_of_the_settings_or_data_set():
    _, task = task_with("vilt_clip", vilt_clip.Settings())
    expected = describe_classes(task, CLASSES, actions.PERSON)
    assert largest_difference(task.constants.plain, expected) == 0
    _, task = task_with("vilt_clip", vilt_clip.Settings(template=""))
    expected = describe_classes(task, CLASSES, "a photo of a {}.")
    assert largest_difference(task.constants.plain, expected) == 0


def test_the_published_formula_of_the_loss_is_the_cosine():
    texts = normalize(jnp.asarray([[1.0, 0.0], [0.0, 2.0]]))
    plain = normalize(jnp.asarray([[1.0, 1.0], [0.0, 1.0]]))
    mean = (0.5**0.5 + 1) / 2
    for form, expected in {"one_minus_cos": 3 * (1 - mean), "cos": 3 * mean}.items():
        _, task = task_with("vilt_clip", vilt_clip.Settings(sg_weight=3.0, sg_form=form))
        [term] = vilt_clip.losses(task, texts, plain).values()
        assert float(term) == pytest.approx(expected)


@pytest.mark.parametrize("leads, share", [("text_prompts", 8.6e-3), ("vision_prompts", 9.3e-1)])
def test_coupled_prompts_get_gradients_from_the_other_tower(monkeypatch, leads, share):
    """Compares with the share of the largest entry that the reference gives for a missing path."""
    row, couple = BY_FIGURES["vilt_multimodal"], vilt_multimodal.couple

    def gradient():
        # A new method, so that no compiled function is reused.
        run = measure(methods.recognize(vilt_multimodal.ENCODERS))
        return run(prompts_of(row), task_of(row), batch_of(row))[1][leads]

    def couple_without_path(prompts):
        held = couple(prompts | {leads: jax.lax.stop_gradient(prompts[leads])})
        text, vision = couple(prompts)
        return (text, held[1]) if leads == "text_prompts" else (held[0], vision)

    whole = gradient()
    monkeypatch.setattr(vilt_multimodal, "couple", couple_without_path)
    assert relative_difference(gradient(), whole) == pytest.approx(share, rel=0.05)


def test_the_coupling_layer_is_half_of_the_smaller_tower_s_layers():
    for changed, expected in [
        ({}, (1, 2)),
        ({"coupling_layer": 2}, (2, 1)),
        ({"coupling_layer": 9}, (3, 0)),
        ({"depth": 1}, (1, 0)),
        ({"depth": 2}, (1, 1)),
    ]:
        settings = vilt_multimodal.Settings(prompts=2, **changed)
        method, task = task_with("vilt_multimodal", settings)
        assert vilt_multimodal.count_layers(task) == expected
        prompts = jax.eval_shape(method.init, jax.random.key(0), task)
        assert len(prompts["text_prompts"]) == expected[0]
        assert ("vision_to_text" in prompts) == ("vision_prompts" in prompts) == (expected[1] > 0)


def test_maps_of_layers_differ_unless_they_are_shared():
    method, task = task_with("vilt_clip", vilt_clip.Settings(prompts=2, shared_maps=False))
    kernel = method.init(jax.random.key(0), task)["vision_to_text"]["kernel"]
    assert kernel.shape == (2, 64, 64) and largest_difference(kernel[0], kernel[1]) > 0.1
    assert float(jnp.abs(kernel).max()) <= 64**-0.5


def test_the_first_vision_prompts_may_be_inserted_after_the_norm():
    row = BY_FIGURES["vilt_multimodal"]
    settings = dataclasses.replace(row.settings, vision_prompt_before_ln_pre=False)
    _, logits = logits_of(row, settings)
    moved = largest_difference(logits, FIGURES["vilt_multimodal"]["logits"])
    assert moved == pytest.approx(7.0e-2, rel=0.05)  # as stated by the reference


def test_a_tower_without_prompts_equals_the_frozen_one():
    settings = vilt_independent.Settings(text_prompts=0, vision_prompts=0)
    method, task = task_with("vilt_independent", settings)
    assert method.init(jax.random.key(0), task) == {}
    run = jax.jit(lambda task: method.forward({}, method.prepare({}, task), task, VIDEOS).logits)
    zero = clip_video.Settings(template="{}.")
    method, plain = task_with("clip_video", zero)
    seen = methods.encode_input(method, plain, VIDEOS)
    expected = method.forward({}, method.prepare({}, plain), plain, seen).logits
    assert largest_difference(run(task), expected) <= 1e-4


@pytest.mark.parametrize("number", [0, 2, 4])
def test_few_prompts_of_vifi_clip_replace_words_and_keep_the_rest(number):
    settings = vifi_vl_prompting.Settings(text_prompts=number, text_depth=1)
    method, task = task_with("vifi_vl_prompting", settings)
    prompts = method.init(jax.random.key(0), task)
    assert vifi_vl_prompting.text_prompts(settings) == 4
    seen = jax.jit(method.prepare)(prompts, task)
    assert largest_difference(seen, describe_classes(task, CLASSES, "a photo of a {}.")) <= 1e-5


def test_many_prompts_of_vifi_clip_start_at_random():
    settings = vifi_vl_prompting.Settings(text_prompts=5)
    method, task = task_with("vifi_vl_prompting", settings)
    text = method.init(jax.random.key(0), task)["text_prompts"]
    assert float(jnp.std(text[0])) == pytest.approx(0.02, rel=0.15)
    assert vifi_vl_prompting.text_prompts(settings) == 5


@pytest.mark.parametrize(
    "name",
    ["clip_video", "vilt_independent", "vilt_clip", "vifi_clip", "vifi_vl_prompting", "a5_text"],
)
def test_the_order_of_frames_has_no_effect(name):
    row = BY_FIGURES[name]
    assert largest_difference(features(row), features(row, SHUFFLED)) <= 1e-5


@pytest.mark.parametrize("name", ["a5_temporal1", "a5_temporal2"])
def test_temporal_blocks_depend_on_the_order_of_frames(name):
    row = BY_FIGURES[name]
    assert largest_difference(features(row), features(row, SHUFFLED)) > 1e-3


def test_a_number_of_frames_that_differs_from_the_temporal_table_is_rejected():
    row = BY_FIGURES["a5_temporal1"]
    with pytest.raises(
        PromptError, match="videos of 3 frames, but there is a temporal table for 4"
    ):
        features(row, VIDEOS[:, :3])
    with pytest.raises(PromptError, match="videos of 3 frames.*as settings.frames says"):
        features(row, jnp.zeros((2, 3, 32)))
    assert features(BY_FIGURES["a5_text"], VIDEOS[:, :3]).shape == (3, 32)


@pytest.mark.parametrize("name", ["a5_temporal1", "clip_video"])
def test_cached_features_of_frames_equal_those_of_videos(name):
    row = BY_FIGURES[name]
    method, task, batch = method_of(row), task_of(row), batch_of(row)
    kept = jax.jit(functools.partial(methods.encode_input, method))(task, VIDEOS)
    assert method.input == "frames" and kept.shape == (3, 4, 32)
    run = measure(method)
    (loss, output), gradients = run(prompts_of(row), task, batch)
    (again, same), theirs = run(prompts_of(row), task, batch | {"image": kept})
    assert float(loss) == pytest.approx(float(again), abs=1e-5)
    assert largest_difference(output.logits, same.logits) <= 1e-4
    if gradients:
        assert relative_difference(gradients["embedding"], theirs["embedding"]) <= 1e-4


def test_methods_of_frames_images_and_videos_are_evaluated_together():
    rows = [BY_FIGURES[name] for name in ("clip_video", "a5_temporal1", "vilt_clip")]
    zero_shot = methods.get("zero_shot")
    averaged = methods.make_task(
        zero_shot, average_frames(TINY), FROZEN, CLASSES, zero_shot.Settings(), actions.PERSON
    )
    chosen = [zero_shot, *(method_of(row) for row in rows)]
    tasks = [averaged, *(task_of(row) for row in rows)]
    prompts = [{}, *(prompts_of(row) for row in rows)]
    logits = [FIGURES[row.figures]["logits"] for row in (rows[0], *rows)]
    labels = np.asarray(FIGURES["clip_video"]["logits"]).argmax(axis=1)
    found = evaluate.Evaluator(chosen)(prompts, tasks, [{"image": VIDEOS, "label": labels}])
    expected = [100 * float(np.mean(each.argmax(axis=1) == labels)) for each in logits]
    assert [each.final for each in found] == pytest.approx(expected) and expected[0] == 100


@pytest.mark.parametrize("name", ["a5_text", "a5_text_shared_postfix"])
def test_vectors_after_a_caption_depend_on_its_slots_or_are_shared(name):
    prompts, task = prompts_of(BY_FIGURES[name]), task_of(BY_FIGURES[name])
    texts = jax.tree.map(jnp.asarray, pack_captions(tokenize_captions(CAPTIONS, 4).tokens))
    seen = jax.jit(a5.encode_texts)(prompts, task, texts)
    sos, eot = TINY.embed_text(FROZEN, jnp.array([[tokenizer.SOS], [tokenizer.EOT]]))
    for caption, feature in zip(CAPTIONS, seen, strict=True):
        words = embed(caption)
        if name == "a5_text":
            table, end = prompts["embedding"], 3 + len(words)
            before, after = table[1:3], table[end : end + 2]
        else:
            before, after = prompts["prefix"], prompts["postfix"]
        own = jnp.concatenate([before, words, after, eot])[None]
        last = jnp.array([own.shape[1] - 1])
        alone = encode_embedded(TINY, FROZEN, sos, own, last)[0]
        assert largest_difference(feature, normalize(alone)) <= 1e-5


def test_a5_is_initialized_like_the_published_code():
    method, task = task_with("a5", a5.Settings(temporal_blocks=2))
    prompts = method.init(jax.random.key(0), task)
    for name in ("embedding", "temporal_embedding"):
        assert float(jnp.std(prompts[name])) == pytest.approx(0.01, rel=0.15)
    one, other = prompts["temporal"].values()
    assert largest_difference(one["fc"], other["fc"]) > 0.1
    assert float(jnp.abs(one["qkv"]["kernel"]).max()) == pytest.approx((6 / 128) ** 0.5, rel=0.01)
    assert float(jnp.abs(one["fc"]["bias"]).max()) == pytest.approx(32**-0.5, rel=0.05)
    assert not np.any(one["qkv"]["bias"]) and not np.any(one["out"]["bias"])


@pytest.mark.parametrize("name", ["vilt_clip", "a5_temporal2"])
def test_bfloat16_is_close_to_float32(name):
    row = BY_FIGURES[name]
    half = dataclasses.replace(task_of(row), clip=CLIP(TINY.config, jnp.dtype("bfloat16")))
    run = jax.jit(methods.get_encoders(row.method).encode_videos)
    rough = run(prompts_of(row), half, VIDEOS)
    assert rough.dtype == jnp.float32
    assert largest_difference(rough, features(row)) < 0.05


def test_a_class_with_a_too_long_text_is_rejected():
    names = ["cat", "very long " * 9]
    with pytest.raises(
        PromptError, match="class 'very long very .* takes 84 tokens, 64 of them the prompts'"
    ):
        task_with("a5", a5.Settings(prefix_prompts=60, postfix_prompts=4), names)


@pytest.mark.parametrize(
    "build, match",
    [
        (lambda: clip_video.Settings(pooling="mean"), "unknown settings.pooling 'mean'"),
        (
            lambda: encoders.VideoSettings(pooling="norm"),
            "Available: mean_then_norm, norm_then_mean",
        ),
        (lambda: clip_video.Settings(renormalize_video=False), "pooling=mean_then_norm: that mean"),
        (lambda: clip_video.Settings(template="a video"), "settings.template='a video' must cont"),
        (lambda: clip_video.Settings(temperature=-1.0), "settings.temperature=-1.0"),
        (lambda: vilt_clip.Settings(sg_form="cosine"), "unknown settings.sg_form 'cosine'"),
        (lambda: vilt_clip.Settings(sg_weight=-1.0), "settings.sg_weight=-1.0"),
        (lambda: vilt_clip.Settings(template="{} {}"), "must contain"),
        (lambda: vilt_multimodal.Settings(prompts=0), "settings.prompts=0 must be at least 1"),
        (lambda: vilt_multimodal.Settings(depth=0), "settings.depth=0 must be at least 1"),
        (lambda: vilt_independent.Settings(text_depth=-1), "settings.text_depth=-1"),
        (lambda: vifi_clip.Settings(use="vision"), "settings.use 'vision'.*both, image, text"),
        (lambda: a5.Settings(postfix="slots"), "Did you mean 'slot'"),
        (lambda: a5.Settings(prefix_prompts=0), "settings.prefix_prompts=0 must be at least 1"),
        (lambda: a5.Settings(frames=0), "settings.frames=0 must be at least 1"),
        (
            lambda: a5.init(jax.random.key(0), task_with("a5", a5.Settings(temporal_heads=5))[1]),
            "settings.temporal_heads=5 must divide the width of the backbone's features, 32",
        ),
    ],
)
def test_invalid_settings_are_rejected(build, match):
    with pytest.raises(PromptError, match=match):
        build()

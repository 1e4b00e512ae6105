"""Pretraining of the embedded CLIP in a small form: loss, data stream, resuming, export."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from data_pipelines import scenes
from experiments import pretrain
from experiments.pretrain import Settings
from experiments.pretraining import calibration, captioned
from prompt_jax.clip import CLIP, loading, normalize, tokenizer

pytestmark = pytest.mark.slow
STEPS = 10
SETTINGS = Settings(steps=STEPS, batch_size=4, learning_rate=3e-3, text_steps=4, patches=32)


@pytest.fixture(scope="module", autouse=True)
def small():
    """Returns settings of a narrow model, one warm-up step, a checkpoint every third step."""
    narrow = dataclasses.replace(
        pretrain.CONFIG,
        image_width=32,
        image_layers=1,
        image_heads=2,
        image_mlp=64,
        text_width=32,
        text_layers=1,
        text_heads=2,
        text_mlp=64,
        embed_dim=32,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretrain, "CONFIG", narrow)
        patch.setattr(pretrain, "WARMUP_STEPS", 1)
        patch.setattr(pretrain, "LOG_EVERY", 1)
        patch.setattr(pretrain, "SAVE_EVERY", 3)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Returns parameters and workdir of an uninterrupted run."""
    workdir = tmp_path_factory.mktemp("whole")
    _, params = pretrain.train(SETTINGS, workdir)
    return jax.tree.map(np.asarray, params), workdir


def cross_entropy(logits, right):
    return np.log(np.sum(np.exp(logits))) - logits[right]


def test_the_loss_equals_a_plain_loop_without_pairs_of_one_class():
    clip = CLIP(tiny.CONFIG)
    params = tiny.frozen_parameters()
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.integers(0, 256, (5, 32, 32, 3), dtype=np.uint8),
        "tokens": tokenizer.tokenize(["a kiwi", "kiwi", "a coral", "a map", "coral"], 8),
        "label": np.array([7, 7, 2, 3, 2], np.int32),
        "action": np.full(5, captioned.NO_ACTION, np.int32),
    }
    x, z = (
        np.asarray(normalize(features), np.float64)
        for features in (
            jax.jit(clip.encode_image)(params, calibration.to_float(jnp.asarray(batch["image"]))),
            jax.jit(clip.encode_text)(params, batch["tokens"]),
        )
    )
    scale, losses = np.exp(float(params["logit_scale"])), []
    for i, label in enumerate(batch["label"]):
        rivals = [i] + [j for j, other in enumerate(batch["label"]) if other != label]
        losses.append(cross_entropy(scale * z[rivals] @ x[i], 0))
        losses.append(cross_entropy(scale * x[rivals] @ z[i], 0))
    both = jax.jit(
        jax.value_and_grad(pretrain.contrastive_loss, has_aux=True), static_argnums=(1, 3)
    )
    every = tiny.CONFIG.patches
    (loss, hits), gradients = both(params, clip, batch, every, jax.random.key(0))
    assert float(loss) == pytest.approx(np.mean(losses), rel=1e-4)
    assert float(hits) * 5 == pytest.approx(round(float(hits) * 5))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_dropping_patches_keeps_the_class_token_and_other_patches_of_each_image():
    tokens = jnp.broadcast_to(jnp.arange(65.0)[None, :, None], (4, 65, 1))
    kept = np.asarray(pretrain.drop_patches(tokens, 32, jax.random.key(0)))[..., 0]
    assert kept.shape == (4, 33) and (kept[:, 0] == 0).all()
    patches = [set(row) for row in kept[:, 1:]]
    assert all(len(row) == 32 and 0 not in row for row in patches)
    assert len(set(map(frozenset, patches))) == 4


def test_images_are_normalized_like_clip():
    white = calibration.to_float(jnp.full((1, 1, 1, 3), 255, jnp.uint8))
    np.testing.assert_allclose(np.ravel(white), [1.93033625, 2.07488384, 2.14589699], rtol=1e-5)


def test_the_stream_continues_at_a_given_position():
    whole = list(pretrain.batches(SETTINGS, 0, STEPS))
    rest = list(pretrain.batches(SETTINGS, 7, STEPS))
    assert (len(whole), len(rest)) == (STEPS, STEPS - 7)
    for one, two in zip(whole[7:], rest, strict=True):
        assert one.keys() == two.keys() == {"image", "tokens", "label", "action"}
        for key in one:
            np.testing.assert_array_equal(one[key], two[key])
    assert whole[0]["image"].shape == (4, 48, 48, 3) and whole[0]["image"].dtype == np.uint8
    assert not np.array_equal(whole[0]["image"], whole[1]["image"])
    other = next(iter(pretrain.batches(SETTINGS._replace(seed=2), 0, STEPS)))
    assert not np.array_equal(whole[0]["image"], other["image"])


def test_frames_of_videos_are_late_and_an_action_differs_from_its_reversal(monkeypatch):
    shown = []
    render = scenes.render_video

    def listening(action, objects, seed, index, size, frames):
        shown.append((action, *frames))
        return render(action, objects, seed, index, size, frames)

    monkeypatch.setattr(scenes, "render_video", listening)
    stream = captioned.LongCaptions(SETTINGS)
    items = [stream[index] for index in range(1, 401, 2)]
    names = [name for name, _ in shown]
    assert [item["action"] for item in items] == [
        list(scenes.ACTIONS).index(name) for name in names
    ]
    # The latest of three of 60 is 45 on average; drawn evenly it would be 30.
    assert 43 < np.mean([frame for _, frame in shown]) < 47


def test_a_stopped_run_resumes_bitwise(whole, tmp_path, monkeypatch):
    def stopping(settings, start, stop):
        for step, batch in enumerate(batches(settings, start, stop)):
            if step == 4:
                raise KeyboardInterrupt
            yield batch

    batches = pretrain.batches
    with monkeypatch.context() as patch:
        patch.setattr(pretrain, "batches", stopping)
        with pytest.raises(KeyboardInterrupt):
            pretrain.train(SETTINGS, tmp_path)
    _, params = pretrain.train(SETTINGS, tmp_path)
    jax.tree.map(np.testing.assert_array_equal, params, whole[0])


def test_the_loss_falls_on_repeated_scenes(tmp_path, monkeypatch):
    first = next(iter(pretrain.batches(SETTINGS, 0, STEPS)))
    monkeypatch.setattr(pretrain, "batches", lambda settings, start, stop: [first] * stop)
    pretrain.train(SETTINGS, tmp_path)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in lines]
    assert len(losses) == STEPS and losses[-1] < 0.8 * losses[0]


def test_only_the_text_tower_is_trained_further_with_filler_words(whole):
    clip, params = CLIP(pretrain.CONFIG), whole[0]
    trained = pretrain.train_text(SETTINGS, clip, params)
    jax.tree.map(np.testing.assert_array_equal, trained["image"], params["image"])
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), trained["text"], params["text"])
    assert moved["position_embedding"] > 0 and moved["block_0"]["qkv"]["kernel"] > 0
    [batch] = pretrain.batches(SETTINGS._replace(batch_size=16), 0, 1, long=True)
    ends = np.argmax(batch["tokens"], axis=1)  # EOT has the highest id
    assert batch["tokens"].shape == (16, captioned.LONG_TOKENS)
    assert ends.max() > captioned.TOKENS > ends.min()
    assert max(len(tokenizer.encode(word)) for word in captioned.BEFORE.split()) == 1
    acting = batch["action"] != captioned.NO_ACTION
    assert acting.tolist() == [False, True] * 8
    assert len(set(batch["label"][acting])) <= captioned.OBJECTS_PER_BATCH


def test_captions_of_one_object_match_unless_their_actions_differ():
    labels = jnp.array([7, 7, 7, 7, 2])
    actions = jnp.array([captioned.NO_ACTION, 4, 4, 5, 4])
    expected = [
        [1, 1, 1, 1, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 0, 0, 1, 0],
        [0, 0, 0, 0, 1],
    ]
    np.testing.assert_array_equal(captioned.fits(labels, actions), np.array(expected, bool))


def test_an_exported_model_loads(whole, tmp_path):
    pretrain.export(whole[0], tmp_path)
    config, frozen = loading.load(tmp_path)
    assert config == pretrain.CONFIG
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(a, np.float32(np.float16(b))), frozen, whole[0]
    )


def test_accuracy_covers_every_domain(whole, monkeypatch):
    monkeypatch.setattr(scenes, "CLASSES", scenes.CLASSES[:3])
    accuracy = calibration.zero_shot_accuracy(CLIP(pretrain.CONFIG), whole[0], per_class=1)
    assert set(accuracy) == set(scenes.DOMAINS)
    assert all(0 <= percent <= 100 for percent in accuracy.values())


def test_calibration_changes_only_the_logit_scale_and_lowers_the_loss(whole):
    clip, params = CLIP(pretrain.CONFIG), whole[0]
    sure = params | {"logit_scale": np.float32(np.log(100.0))}
    calibrated = calibration.calibrate(clip, sure, per_class=1)
    # An untrained model should not be confident.
    assert 1 <= np.exp(calibrated["logit_scale"]) < 100
    for name in ("image", "text"):
        assert calibrated[name] is sure[name]
    again = calibration.calibrate(clip, calibrated, per_class=1)
    assert again["logit_scale"] == calibrated["logit_scale"]

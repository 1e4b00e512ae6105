"""Prompt Switch equals the reference figures; numbers of parameters."""

import dataclasses
import json
import os
import sys
from pathlib import Path

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from reference import FOLDER, largest_difference
from switch_rows import BATCH, FIGURES, METHOD, features, measure, start_of, task_of
from video_rows import CAPTIONS, VIDEOS, sampled

from prompt_jax import methods
from prompt_jax.clip import CLIP, VARIANTS, loading
from prompt_jax.inputs.videos import sampling
from prompt_jax.methods.video import prompt_switch
from prompt_jax.training import optim

SHARED = Path(os.environ.get("PROMPT_JAX_SHARED", Path(__file__).parents[4] / "shared"))


def without_key_biases(tree):
    """Returns arrays by path, without the keys' biases of attention, whose gradient is noise."""
    flat = flax.traverse_util.flatten_dict(tree, sep="/")
    for path, array in flat.items():
        if path.endswith("key_value/bias"):
            flat[path] = np.split(np.asarray(array), 2)[1]
    return flat


def in_pairs(ours, figures, kind):
    """Yields (path, our array, the figures' array)."""
    ours = without_key_biases(ours)
    tables = {"token_embedding": "text/token_embedding", "caption/head/bias": "captioner/head/bias"}
    for path, reference in without_key_biases(figures[kind]).items():
        name, _, last = path.rpartition("/")
        if last != "rows":
            yield path, sampled(ours[path]), reference
            continue
        if name == "caption/head/weight":
            rows = np.asarray(ours["captioner/head/kernel"]).T[figures["token_ids"]]
        else:
            rows = np.asarray(ours[tables[name]])[figures["token_ids"]]
        yield path, rows if rows.shape == reference.shape else sampled(rows), reference


def check(start, task, figures):
    """Compares loss, logits, features, gradients and three steps of AdamW with the figures."""
    (loss, output), gradients = measure(start, task, BATCH)
    assert abs(float(loss) - figures["loss"]) <= 5e-5
    assert largest_difference(output.logits[0], figures["logits"]) <= 1e-4
    assert largest_difference(features(task, start), figures["frame_features"]) <= 1e-5
    number = task.settings.prompts
    last = jax.jit(prompt_switch.run_layers)(start, task, VIDEOS)[:, :, 1:]
    assert largest_difference(last, figures["last_prompts"]) <= 1e-4 and last.shape[2] == number
    for path, ours, reference in in_pairs(gradients, figures, "grad"):
        assert largest_difference(ours, reference) <= 1e-4 * np.abs(reference).max(), path
    for path, norm in flax.traverse_util.flatten_dict(figures["grad_norm"], sep="/").items():
        ours = flax.traverse_util.flatten_dict(gradients, sep="/")[path]
        assert float(jnp.linalg.norm(ours)) == pytest.approx(norm, rel=1e-4, abs=1e-5), path

    rates = METHOD.trains(start, task.settings)
    rule = optim.adamw(1e-3, rates, 0.2, epsilon=1e-6, betas=(0.9, 0.999))
    optimizer = METHOD.optimizer(optim.scale_rates(rule, rates), task.settings, 1, 3)
    end, state = start, optimizer.init(start)
    for number in range(3):
        (loss, _), gradients = measure(end, task, BATCH)
        assert float(loss) == pytest.approx(figures["adamw_losses"][number], rel=3e-4)
        updates, state = optimizer.update(gradients, state, end)
        end = optax.apply_updates(end, updates)
    assert float(measure(end, task, BATCH)[0][0]) == pytest.approx(
        figures["adamw_loss_after"], rel=3e-4
    )
    starts = {path: array for path, array, _ in in_pairs(start, figures, "adamw3")}
    for path, ours, reference in in_pairs(end, figures, "adamw3"):
        # AdamW amplifies noise in small gradients to whole steps: single entries are not bounded.
        off, moved = (
            np.sqrt(np.mean((x - y) ** 2))
            for x, y in [(ours, reference), (reference, starts[path])]
        )
        assert off <= 2e-3 * moved, path


@pytest.mark.parametrize(("name", "number"), [("prompt_switch", 4), ("prompt_switch_chunks", 2)])
def test_logits_gradients_and_three_steps_equal_the_reference(name, number):
    task = task_of(number)
    check(start_of(task, FIGURES[name]["param"]), task, FIGURES[name])


def test_attention_to_a_chunk_alone_equals_the_published_test():
    figures = FIGURES["prompt_switch_chunks"]
    task = task_of(2, chunk_attention="chunk")
    (loss, output), _ = measure(start_of(task, figures["param"]), task, BATCH)
    assert float(loss) == pytest.approx(float(figures["loss_split"]), abs=5e-5)
    assert largest_difference(output.logits[0], figures["logits_split"]) <= 1e-4


@pytest.mark.skipif(not (SHARED / "oracles/tiny_a").is_dir(), reason="no reference vectors here")
def test_the_whole_loss_equals_the_reference():
    """Reads the reference vectors: the captioner's loss needs the whole token embedding."""
    sys.path.insert(0, str(FOLDER))
    import make_switch

    found = make_switch.read(make_switch.CAPTIONED)
    figures = flax.traverse_util.unflatten_dict({tuple(k.split("/")): v for k, v in found.items()})
    config, frozen = loading.load(SHARED / "oracles/tiny_a/clip.pt")
    assert json.loads((SHARED / "oracles/tiny_a/names.json").read_text())["captions"] == CAPTIONS
    frozen = jax.tree.map(jnp.asarray, frozen)
    frozen["image"]["projection"] = {"kernel": jnp.asarray(figures["clip.visual.proj"])}
    frozen["text"]["projection"] = {"kernel": jnp.asarray(figures["clip.text_projection"])}
    clip = CLIP(dataclasses.replace(config, embed_dim=64))
    task = task_of(4, clip, frozen, captioner=True)
    start = start_of(task, figures["param"])
    check(start, task, figures)

    (_, output), gradients = measure(start, task, BATCH)
    assert float(output.losses["captions"]) == pytest.approx(figures["caption_loss"] / 2, rel=1e-5)
    for kind in ("weight", "bias"):
        head = gradients["captioner"]["head"]["kernel" if kind == "weight" else kind]
        norm = figures[f"grad_norm_of.caption.head.{kind}"]
        assert float(jnp.linalg.norm(head)) == pytest.approx(float(norm), rel=1e-4)
    weights = np.asarray(prompt_switch.word_weights(task.settings, config.vocab_size))
    assert np.flatnonzero(weights < 1).tolist() == sorted(figures["frequent_ids"].tolist())
    assert set(weights.tolist()) == {0.25, 1.0}


def test_test_frames_equal_the_published_ones():
    figures = FIGURES["test_frames"]
    for count, expected in zip(figures["count"], figures["index"], strict=True):
        chosen = sampling.choose("centre", int(count), 12, None, passes=2)
        assert chosen.tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("variant", "changed", "expected"),
    [
        ("ViT-B/32", {}, 187_423_745),
        ("ViT-B/32", {"captioner": False}, 153_667_329),
        ("ViT-B/16", {}, 185_767_169),
    ],
)
def test_parameter_counts(variant, changed, expected):
    clip, settings = CLIP(VARIANTS[variant]), prompt_switch.Settings(**changed)

    def init(rng):
        return METHOD.init(rng, methods.make_task(METHOD, clip, clip.init(rng), (), settings))

    prompts = jax.eval_shape(init, jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(prompts)) == expected

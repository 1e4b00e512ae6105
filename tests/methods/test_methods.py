"""Every image method equals the figures of the published code; numbers of parameters."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from reference import BATCH, CLASSES, FIGURES, FROZEN, largest_difference, relative_difference
from rows import BY_FIGURES, ROWS, arrays, batch_of, task_of, without_noise

from prompt_jax import methods
from prompt_jax.clip import CLIP, VARIANTS, loading
from prompt_jax.errors import PromptError
from prompt_jax.methods.images import (
    biomedcoop,
    clip_adapter,
    cocoop,
    coop,
    gopro,
    ivlp,
    kgcoop,
    maple,
    mocoop,
    mocoop_norms,
    pro_mpt,
    vpt,
    zero_shot,
)
from prompt_jax.text import class_texts
from prompt_jax.training import optim, train

# Compared in `./run.sh test --quick`; the others compile for a minute.
QUICK = ("zero_shot", "coop", "cocoop", "pro_mpt", "description")


def marked(row):
    """Returns a row of the table, marked as slow unless it is a quick one."""
    return pytest.param(row, marks=() if row.figures in QUICK else pytest.mark.slow)


def test_the_weights_are_those_of_the_figures(shared):
    _, frozen = loading.load(shared / "oracles" / "tiny_a" / "clip.pt")
    table, ours = frozen["text"]["token_embedding"], FROZEN["text"]["token_embedding"]
    rows = np.flatnonzero(np.abs(ours).max(axis=1))
    assert len(rows) > 20
    assert largest_difference(ours[rows], table[rows]) == 0
    frozen["text"]["token_embedding"] = ours
    assert largest_difference(FROZEN, frozen) == 0


@pytest.mark.parametrize("row", [marked(row) for row in ROWS], ids=lambda row: row.figures)
def test_logits_gradients_and_three_sgd_steps_equal_the_published_code(row):
    method, task, expected = methods.get(row.method), task_of(row), FIGURES[row.figures]
    start = prompts = arrays(row, "param")
    optimizer = optim.sgd(0.002, method.trains(prompts, row.settings))
    state = optimizer.init(prompts)
    run = jax.jit(jax.value_and_grad(functools.partial(loss, method), has_aux=True))
    for step in range(3 if prompts else 1):
        (value, output), gradients = run(prompts, task, batch_of(row))
        if step == 0:
            assert abs(float(value) - expected["loss"]) <= 5e-5
            assert largest_difference(output.logits, expected_logits(expected)) <= 1e-4
            if prompts:
                found = without_noise(row, gradients)
                assert relative_difference(found, without_noise(row, arrays(row, "grad"))) <= 1e-4
        if prompts:
            # CoOp's steps are so large that float32 noise is visible in the third loss.
            assert float(value) == pytest.approx(expected["sgd_losses"][step], rel=3e-4)
            updates, state = optimizer.update(gradients, state, prompts)
            prompts = optax.apply_updates(prompts, updates)
    if prompts:
        moved = jax.tree.map(jnp.subtract, prompts, start)
        expected_move = jax.tree.map(jnp.subtract, arrays(row, "sgd3"), start)
        moved, expected_move = without_noise(row, moved), without_noise(row, expected_move)
        assert relative_difference(moved, expected_move) <= 1e-4


def loss(method, prompts, task, batch):
    """Computes the training loss with the prompts as the first argument, for `jax.grad`."""
    return train.loss_and_output(method, prompts, task, batch)


def expected_logits(figures):
    """Returns float[iterations, B, K]; for ProMPT they begin with the zero-shot logits."""
    logits = figures["logits"].reshape(-1, 3, len(CLASSES))
    if "logits0" in figures:
        logits = np.concatenate([figures["logits0"][None], logits])
    return logits


def pro_mpt_parameters(a=8, b=5, depth=9, d=512, d_l=512, d_v=768):
    """Returns the sum over P⁰, O⁰, G^V (weights shared, biases per layer) and G^T."""
    hidden = d // 16
    vision = hidden * (d + d_v) + depth * (hidden + d_v)
    text = hidden * (d + d_l) + hidden + d_l
    return b * d_l + depth * a * d_v + vision + text


@pytest.mark.parametrize(
    "name, settings, expected",
    [
        ("zero_shot", zero_shot.Settings(), 0),
        ("coop", coop.Settings(), 16 * 512),
        ("coop", coop.Settings(class_specific=True), 10 * 16 * 512),
        ("cocoop", cocoop.Settings(), 35_360),  # published
        ("vpt", vpt.Settings(), 12 * 8 * 768),
        ("ivlp", ivlp.Settings(), 12 * 2 * (512 + 768)),
        ("maple", maple.Settings(), 3_555_072),  # published
        ("kgcoop", kgcoop.Settings(), 4 * 512),
        ("biomedcoop", biomedcoop.Settings(), 2048),  # published: 3,072, of a wider text tower
        ("clip_adapter", clip_adapter.Settings(), 2 * 512 * 128),
        ("gopro", gopro.Settings(), 9_748_525),  # published
        ("mocoop", mocoop.Settings(), 18_950),  # as published for EuroSAT
        ("mocoop_norms", mocoop_norms.Settings(), 18_950 + 36_864),
        ("pro_mpt", pro_mpt.Settings(), pro_mpt_parameters()),
        ("pro_mpt", pro_mpt.Settings(vision_depth=3), pro_mpt_parameters(depth=3)),
        ("pro_mpt", pro_mpt.Settings(iterations=0), 0),
    ],
)
def test_parameter_count_on_vit_b16(name, settings, expected):
    clip = CLIP(VARIANTS["ViT-B/16"])
    names = [f"class {i}" for i in range(10)]

    def init(rng):
        method = methods.get(name)
        texts = class_texts.stand_in(method.texts, names)
        task = methods.make_task(method, clip, clip.init(rng), names, settings, texts=texts)
        return method.init(rng, task)

    prompts = jax.eval_shape(init, jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(prompts)) == expected


@pytest.mark.parametrize(
    "row", {row.method: row for row in ROWS}.values(), ids=lambda row: row.figures
)
def test_initial_prompts_have_the_structure_of_the_figures(row):
    method = methods.get(row.method)
    fresh = jax.eval_shape(lambda rng: method.init(rng, task_of(row)), jax.random.key(0))
    shapes = [jax.tree.map(jnp.shape, tree) for tree in (fresh, arrays(row, "param"))]
    assert shapes[0] == shapes[1]


def test_preparing_once_in_evaluation_equals_preparing_in_each_training_step():
    row = BY_FIGURES["coop"]
    method, task, prompts = methods.get(row.method), task_of(row), arrays(row, "param")
    prepared = jax.jit(method.prepare)(prompts, task)
    seen = methods.encode_input(method, task, BATCH["image"])
    evaluated = jax.jit(method.forward)(prompts, prepared, task, seen).logits
    assert largest_difference(evaluated, expected_logits(FIGURES["coop"])) <= 1e-4


def test_an_unknown_method_suggests_a_close_name():
    with pytest.raises(PromptError, match=r"'cocop'.*Did you mean.*'cocoop'"):
        methods.get("cocop")

"""VoP, its variants and its baselines equal the reference figures; numbers of parameters."""

import functools

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from reference import largest_difference
from video_rows import (
    BY_FIGURES,
    FIGURES,
    ROWS,
    batch_of,
    prompts_of,
    sampled,
    task_of,
)

from prompt_jax import methods
from prompt_jax.clip import CLIP, VARIANTS
from prompt_jax.training import optim, train

# Compared in `./run.sh test --quick`; the others compile for a minute.
QUICK = ("vop", "vop_f_c_position")


def marked(row):
    """Returns a row of the table, marked as slow unless it is a quick one."""
    return pytest.param(row, marks=() if row.figures in QUICK else pytest.mark.slow)


def by_path(tree):
    """Returns arrays by "a/b/c".

    The keys' input bias of attention is removed, as softmax ignores it and its gradient is rounding
    noise.
    """
    flat = flax.traverse_util.flatten_dict(tree, sep="/")
    for path, array in flat.items():
        if path.endswith("qkv/bias"):
            query, _, value = np.split(np.asarray(array), 3)
            flat[path] = np.concatenate([query, value])
    return flat


def in_pairs(ours, row, kind):
    """Returns (path, our array, the figures' array) of all arrays in the figures."""
    ours, token_ids = by_path(ours), FIGURES[row.figures].get("token_ids")
    for path, reference in by_path(FIGURES[row.figures][kind]).items():
        if path == "token_embedding/rows":
            yield path, sampled(np.asarray(ours["text/token_embedding"])[token_ids]), reference
        else:
            yield path, sampled(ours[path]), reference


def optimizer_of(row, trains):
    """Returns the optimizer of the figures and its name there."""
    if row.figures in ("vop", "vop_renorm"):
        return optim.sgd(0.002, trains), "sgd"
    return optim.adamw(1e-3, trains, 0.2, epsilon=1e-6, betas=(0.9, 0.98)), "adamw"


@pytest.mark.parametrize("row", [marked(row) for row in ROWS], ids=lambda row: row.figures)
def test_logits_gradients_and_three_steps_equal_the_reference(row):
    method = methods.retrieve(methods.get_encoders(row.method))
    task, batch, expected = task_of(row), batch_of(row), FIGURES[row.figures]
    start = prompts_of(row)
    rule, name = optimizer_of(row, method.trains(start, row.settings))
    optimizer = method.optimizer(rule, row.settings, 1, 3)

    @jax.jit
    def measure(prompts, task, batch):
        def loss(prompts):
            return train.loss_and_output(method, prompts, task, batch)

        return jax.value_and_grad(loss, has_aux=True)(prompts)

    (loss, output), gradients = measure(start, task, batch)
    assert abs(float(loss) - expected["loss"]) <= 5e-5
    assert largest_difference(output.logits[0], expected["logits"]) <= 1e-4
    for path, ours, reference in in_pairs(gradients, row, "grad"):
        assert largest_difference(ours, reference) <= 1e-4 * np.abs(reference).max(), path

    end, optimizer_state = start, optimizer.init(start)
    for number in range(3):
        (loss, _), gradients = measure(end, task, batch) if number else ((loss, output), gradients)
        assert float(loss) == pytest.approx(expected[f"{name}_losses"][number], rel=3e-4)
        updates, optimizer_state = optimizer.update(gradients, optimizer_state, end)
        end = optax.apply_updates(end, updates)
    starts = {path: array for path, array, _ in in_pairs(start, row, f"{name}3")}
    for path, ours, reference in in_pairs(end, row, f"{name}3"):
        # AdamW amplifies noise in small gradients to whole steps: single entries are not bounded.
        off, moved = (
            np.sqrt(np.mean((x - y) ** 2))
            for x, y in [(ours, reference), (reference, starts[path])]
        )
        assert off <= 2e-3 * moved, path


@pytest.mark.parametrize(
    "row", [marked(row) for row in ROWS if row.figures != "vop_renorm"], ids=lambda row: row.figures
)
def test_with_renormalization_the_logits_equal_the_reference(row):
    figures = FIGURES["vop_renorm" if row.figures == "vop" else row.figures]
    expected = figures["logits" if row.figures == "vop" else "logits_renorm"]
    method = methods.retrieve(methods.get_encoders(row.method))
    task = task_of(row, renormalize_video=True)
    _, output = jax.jit(functools.partial(train.loss_and_output, method))(
        prompts_of(row), task, batch_of(row)
    )
    assert largest_difference(output.logits[0], expected) <= 1e-4


@pytest.mark.parametrize("name", ["vop_adapter_attn", "vop_adapter_ffn"])
@pytest.mark.slow
def test_adapters_may_read_the_tokens_before_the_norm(name):
    row = BY_FIGURES[name]
    method = methods.retrieve(methods.get_encoders(row.method))
    task = task_of(row, adapter_input="residual")
    _, output = jax.jit(functools.partial(train.loss_and_output, method))(
        prompts_of(row), task, batch_of(row)
    )
    assert largest_difference(output.logits[0], FIGURES[name]["logits_residual_input"]) <= 1e-4


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.figures)
def test_initial_prompts_have_the_structure_of_the_figures(row):
    encoders = methods.get_encoders(row.method)
    fresh = jax.eval_shape(lambda rng: encoders.init(rng, task_of(row)), jax.random.key(0))
    shapes = [jax.tree.map(jnp.shape, tree) for tree in (fresh, prompts_of(row))]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(
    "name, settings, expected",
    [
        ("zero_shot", {}, 0),
        ("vop", {}, 122_880),
        ("vop", {"text_prompts": 0}, 12 * 8 * 768),
        ("vop", {"vision_prompts": 0, "depth": 6}, 6 * 8 * 512),
        ("vop_p", {}, 528_384),
        ("vop_c", {}, 14_257_152),
        ("vop_f", {"frame_position": False}, 122_880),
        ("vop_f", {}, 132_096),
        ("vop_f_p", {"frame_position": False}, 393_216),
        ("vop_f_p", {}, 402_432),
        ("vop_f_c", {"frame_position": False}, 14_269_440),
        ("vop_f_c", {}, 14_278_656),
        ("bias", {}, 171_008),
        ("proj", {}, 655_360),
        ("partial", {}, 10_240_256),
        ("adapter_attn", {}, 1_982_976),
        ("adapter_ffn", {}, 1_982_976),
        ("full", {}, 151_277_313),
    ],
)  # the published counts, or those derived in the specification
def test_parameter_count_on_vit_b32(name, settings, expected):
    clip, encoders = CLIP(VARIANTS["ViT-B/32"]), methods.get_encoders(name)

    def init(rng):
        method, settings_ = methods.retrieve(encoders), encoders.Settings(**settings)
        return encoders.init(rng, methods.make_task(method, clip, clip.init(rng), (), settings_))

    prompts = jax.eval_shape(init, jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(prompts)) == expected

"""ViLT-CLIP, ViFi-CLIP and A5 equal the reference figures; numbers of parameters."""

import dataclasses
import functools
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from action_rows import BY_FIGURES, FIGURES, ROWS, batch_of, method_of, prompts_of, task_of
from reference import largest_difference
from test_vop import by_path
from video_rows import sampled

from prompt_jax import methods
from prompt_jax.clip import CLIP, VARIANTS
from prompt_jax.methods.video import clip_video, vifi_clip
from prompt_jax.training import optim, train

# Compared in `./run.sh test --quick`; the others compile for a minute.
QUICK = ("clip_video", "vilt_clip", "a5_temporal1", "ez_clip")


def marked(row):
    """Returns a row of the table, marked as slow unless it is a quick one."""
    return pytest.param(row, marks=() if row.figures in QUICK else pytest.mark.slow)


def in_pairs(ours, row, kind):
    """Returns (path, our array, the figures' array) of all arrays in the figures."""
    ours = by_path(ours)
    for path, reference in by_path(FIGURES[row.figures][kind]).items():
        array = np.asarray(ours[path])
        yield path, array if array.shape == reference.shape else sampled(array), reference


def adamw_of(row, trains):
    """Returns the optimizer of the figures, with ViFi-CLIP's or A5's settings."""
    decay, betas = (0.01, (0.9, 0.999)) if row.method == "a5" else (0.001, (0.9, 0.98))
    return optim.adamw(1e-3, trains, decay, epsilon=1e-8, betas=betas)


def optimizer_of(row, method, start):
    """Returns the optimizer of the row's figures."""
    trains = method.trains(start, row.settings)
    if row.method == "m2clip":
        decays = method.decays(start, row.settings)
        return optim.scale_rates(optim.adamw(1e-3, trains, 0.01, decays=decays), trains)
    return optim.sgd(0.002, trains) if row.method == "ez_clip" else adamw_of(row, trains)


def measure(method):
    """Returns the compiled function of (prompts, task, batch): ((loss, output), gradients)."""

    def loss(prompts, task, batch):
        return train.loss_and_output(method, prompts, task, batch)

    return jax.jit(jax.value_and_grad(loss, has_aux=True))


def logits_of(row, settings):
    """Returns (loss, logits) of the row's batch with other settings."""
    run = jax.jit(functools.partial(train.loss_and_output, method_of(row)))
    loss, output = run(prompts_of(row), task_of(row, settings), batch_of(row))
    return float(loss), output.logits[0]


@pytest.mark.parametrize("row", [marked(row) for row in ROWS], ids=lambda row: row.figures)
def test_logits_gradients_and_three_steps_equal_the_reference(row):
    method, task, batch, expected = (
        method_of(row),
        task_of(row),
        batch_of(row),
        FIGURES[row.figures],
    )
    start, run = prompts_of(row), measure(method)
    (loss, output), gradients = run(start, task, batch)
    assert abs(float(loss) - expected["loss"]) <= 5e-5
    assert largest_difference(output.logits[0], expected["logits"]) <= 1e-4
    if not start:
        return
    for path, ours, reference in in_pairs(gradients, row, "grad"):
        # The gradient through F is about a hundredth of the largest entry.
        assert largest_difference(ours, reference) <= 1e-4 * np.abs(reference).max(), path

    kind = "sgd" if "sgd3" in expected else "adamw"
    optimizer = optimizer_of(row, method, start)
    end, state = start, optimizer.init(start)
    for number in range(3):
        if number:
            (loss, _), gradients = run(end, task, batch)
        assert float(loss) == pytest.approx(expected[f"{kind}_losses"][number], rel=3e-4)
        updates, state = optimizer.update(gradients, state, end)
        end = optax.apply_updates(end, updates)
    assert float(run(end, task, batch)[0][0]) == pytest.approx(
        expected[f"{kind}_loss_after"], rel=3e-4
    )
    starts = {path: array for path, array, _ in in_pairs(start, row, f"{kind}3")}
    off, moved = [], []
    for path, ours, reference in in_pairs(end, row, f"{kind}3"):
        off.append(np.ravel(ours - reference))
        moved.append(np.ravel(reference - starts[path]))
    # AdamW amplifies noise in small gradients to whole steps: single entries are not bounded.
    off, moved = (np.sqrt(np.mean(np.concatenate(parts) ** 2)) for parts in (off, moved))
    assert off <= 2e-4 * moved


@pytest.mark.parametrize(
    "name, changed",
    [
        ("action", {"template": "a video of the action of {}"}),
        ("photo", {"template": "a photo of a {}."}),
        ("photo", {"template": ""}),  # the data set's template
        ("name", {"template": "{}"}),
        ("mean_of_normalised", {"pooling": "norm_then_mean"}),
        (
            "mean_of_normalised_not_renormalised",
            {"pooling": "norm_then_mean", "renormalize_video": False},
        ),
    ],
)
def test_zero_shot_with_other_templates_and_poolings(name, changed):
    row = BY_FIGURES["clip_video"]
    _, logits = logits_of(row, clip_video.Settings(**changed))
    assert largest_difference(logits, FIGURES["clip_video"][f"logits_{name}"]) <= 1e-4


def test_the_paper_s_temperature_can_be_set():
    row, figures = BY_FIGURES["vilt_clip"], FIGURES["vilt_clip"]
    loss, logits = logits_of(row, dataclasses.replace(row.settings, temperature=0.07))
    assert largest_difference(logits, figures["logits_tau_0.07"]) <= 1e-5
    assert loss == pytest.approx(float(figures["loss_tau_0.07"]), abs=5e-5)


@pytest.mark.slow
def test_fine_tuning_equals_the_reference_in_the_gradient_of_every_array():
    row, figures = BY_FIGURES["vifi_clip"], FIGURES["vifi_clip"]
    (_, output), gradients = measure(method_of(row))(prompts_of(row), task_of(row), batch_of(row))
    norms = flax.traverse_util.flatten_dict(gradients, sep="/")
    expected = flax.traverse_util.flatten_dict(figures["grad_norm"], sep="/")
    assert norms.keys() == expected.keys() and len(expected) == 97
    for path, reference in expected.items():
        assert float(jnp.linalg.norm(norms[path])) == pytest.approx(float(reference), rel=1e-4)
    soft = optax.softmax_cross_entropy(output.logits[0], figures["soft_targets"])
    assert float(jnp.mean(soft)) == pytest.approx(float(figures["loss_soft_targets"]), abs=5e-5)


@pytest.mark.slow
@pytest.mark.parametrize("use", ["image", "text"])
def test_a_single_tower_can_be_fine_tuned(use):
    row, figures = BY_FIGURES["vifi_clip"], FIGURES["vifi_clip"]
    row = row._replace(settings=vifi_clip.Settings(use=use))
    prompts = prompts_of(row)
    assert prompts.keys() == {use} and "token_embedding" not in prompts[use]
    optimizer = adamw_of(row, method_of(row).trains(prompts, row.settings))
    step = train.make_step(method_of(row), optimizer)
    state = train.init_state(prompts, optimizer)
    for expected in [*figures[f"{use}.adamw_losses"], figures[f"{use}.adamw_loss_after"]]:
        state, metrics = step(state, task_of(row), batch_of(row))
        assert float(metrics["loss"]) == pytest.approx(float(expected), rel=3e-4)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.figures)
def test_initial_prompts_have_the_structure_of_the_figures(row):
    encoders = methods.get_encoders(row.method)
    fresh = jax.eval_shape(lambda rng: encoders.init(rng, task_of(row)), jax.random.key(0))
    shapes = [jax.tree.map(jnp.shape, tree) for tree in (fresh, prompts_of(row))]
    assert shapes[0] == shapes[1]


BASE_TO_NOVEL: dict[str, Any] = {"prompts": 16, "depth": 10}
OF_BOTH_TOWERS: dict[str, Any] = {"text_prompts": 16, "vision_prompts": 16}


@pytest.mark.parametrize(
    "name, settings, expected",
    [
        ("clip_video", {}, 0),
        ("vilt_independent", {}, 153_600),
        ("vilt_independent", OF_BOTH_TOWERS | {"text_depth": 10, "vision_depth": 10}, 204_800),
        ("vilt_independent", {"text_prompts": 6, "vision_prompts": 6}, 92_160),
        ("vilt_multimodal", {}, 864_512),
        ("vilt_clip", {}, 864_512),
        ("vilt_clip", BASE_TO_NOVEL, 886_016),
        ("vilt_clip", BASE_TO_NOVEL | {"coupling_layer": 5}, 890_112),
        ("vilt_clip", {"prompts": 6}, 833_792),
        ("vilt_clip", {"shared_maps": False}, 4_803_072),
        ("vilt_clip", BASE_TO_NOVEL | {"shared_maps": False}, 4_037_120),
        ("vifi_vl_prompting", {}, 153_600),
        ("vifi_vl_prompting", OF_BOTH_TOWERS | {"text_depth": 9, "vision_depth": 9}, 184_320),
        ("vifi_clip", {}, 124_323_841),
        ("vifi_clip", {"use": "image"}, 86_192_640),
        ("vifi_clip", {"use": "text"}, 38_131_200),
        ("ez_clip", {}, 5_204_736),
        ("a5", {"temporal_blocks": 0}, 39_424),
        ("a5", {"temporal_blocks": 0, "postfix": "shared"}, 16_384),
        ("a5", {"temporal_blocks": 1}, 3_200_000),
        ("a5", {}, 6_352_384),
    ],
)  # the published counts, or those derived in the specification
def test_parameter_count_on_vit_b16(name, settings, expected):
    clip, encoders = CLIP(VARIANTS["ViT-B/16"]), methods.get_encoders(name)

    def init(rng):
        method, settings_ = methods.retrieve(encoders), encoders.Settings(**settings)
        return encoders.init(rng, methods.make_task(method, clip, clip.init(rng), (), settings_))

    prompts = jax.eval_shape(init, jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(prompts)) == expected

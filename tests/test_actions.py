"""ViLT-CLIP, ViFi-CLIP and A5 against the reference figures, and their sizes."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from action_rows import BY_FIGURES, FIGURES, ROWS, batch_of, method_of, prompts_of, task_of
from clip_rows import sampled
from reference import CLASSES, FROZEN, TINY, largest_difference
from test_vop import by_path

from prompt_jax import methods, optim, train
from prompt_jax.clip import CLIP, VARIANTS
from prompt_jax.methods import clip_video, vifi_clip

# Whose figures `./run.sh test --quick` compares; the others compile for a minute.
QUICK = ("clip_video", "vilt_clip", "a5_temporal1")


def marked(row):
    """A row of the table, slow unless it is one of the quick ones."""
    return pytest.param(row, marks=() if row.figures in QUICK else pytest.mark.slow)


def in_pairs(ours, row, kind):
    """(path, our array, the figures') of all arrays that the figures have."""
    ours = by_path(ours)
    for path, reference in by_path(FIGURES[row.figures][kind]).items():
        yield path, sampled(ours[path]), reference


def adamw_of(row, trains):
    """The optimizer of the figures: ViFi-CLIP's settings, or A5's."""
    decay, betas = (0.01, (0.9, 0.999)) if row.method == "a5" else (0.001, (0.9, 0.98))
    return optim.adamw(1e-3, trains, decay, epsilon=1e-8, betas=betas)


def measure(method):
    """The jitted ((prompts, task, batch) -> ((loss, output), gradients))."""

    def loss(prompts, task, batch):
        return train.loss_and_output(method, prompts, task, batch)

    return jax.jit(jax.value_and_grad(loss, has_aux=True))


def logits_of(row, settings, prompts=None):
    """Of the row's batch, with other settings: (loss, logits)."""
    run = jax.jit(functools.partial(train.loss_and_output, method_of(row)))
    prompts = prompts_of(row) if prompts is None else prompts
    loss, output = run(prompts, task_of(row, settings), batch_of(row))
    return float(loss), output.logits[0]


@pytest.mark.parametrize("row", [marked(row) for row in ROWS], ids=lambda row: row.figures)
def test_logits_gradients_and_three_steps_equal_the_reference(row):
    method, task, batch, expected = method_of(row), task_of(row), batch_of(row), FIGURES[row.figures]
    start, run = prompts_of(row), measure(method)
    (loss, output), gradients = run(start, task, batch)
    assert abs(float(loss) - expected["loss"]) <= 5e-5
    assert largest_difference(output.logits[0], expected["logits"]) <= 1e-4
    if not start:
        return
    for path, ours, reference in in_pairs(gradients, row, "grad"):
        # The gradient through F is some hundredth of the largest entry.
        assert largest_difference(ours, reference) <= 1e-4 * np.abs(reference).max(), path

    optimizer = adamw_of(row, method.trains(start, row.settings))
    end, state = start, optimizer.init(start)
    for number in range(3):
        if number:
            (loss, _), gradients = run(end, task, batch)
        assert float(loss) == pytest.approx(expected["adamw_losses"][number], rel=3e-4)
        updates, state = optimizer.update(gradients, state, end)
        end = optax.apply_updates(end, updates)
    assert float(run(end, task, batch)[0][0]) == pytest.approx(
        expected["adamw_loss_after"], rel=3e-4
    )
    starts = {path: array for path, array, _ in in_pairs(start, row, "adamw3")}
    off, moved = [], []
    for path, ours, reference in in_pairs(end, row, "adamw3"):
        off.append(np.ravel(ours - reference))
        moved.append(np.ravel(reference - starts[path]))
    # AdamW turns noise in small gradients into whole steps: no bound on single entries.
    off, moved = (np.sqrt(np.mean(np.concatenate(parts) ** 2)) for parts in (off, moved))
    print(row.figures, off / moved)
    assert off <= 1e-3 * moved

"""Settings that are chosen for a run, on what its test images know nothing of."""

import contextlib
from typing import Any

import jax
import numpy as np

from experiments.setup.preparation import Prepared
from prompt_jax import methods
from prompt_jax.methods import selection
from prompt_jax.training import recipes, train


def choose(run: Prepared, prompts: methods.Prompts) -> tuple[methods.Prompts, dict[str, Any]]:
    """Prompts with what their method chooses, and what results.json says of it.

    Held out are the validation images and folds of the shots, in base-to-novel of the base
    classes. The same run chooses the same again.

    Args:
        run: the run.
        prompts: what it trained.

    Returns:
        prompts, and `selection.Choice.as_json`; empty where all is given.
    """
    tune = run.method.tune
    if tune is None or tune(prompts, run.task, [])[1] is None:
        return prompts, {}  # nothing to choose: no image is looked at for it
    held_out = []
    with run.plan.listing_all_bad():
        features, labels = run.makes.of_validation(run.plan.train)
    if len(labels):
        held_out.append(selection.HeldOut(prompts, features[None], labels))
    if run.shots and run.shots.features is not None:
        held_out += selection.hold_out_shots(
            lambda features, labels: fit_part(run, features, labels),
            run.shots.features,
            run.shots.labels,
        )
    prompts, choice = tune(prompts, run.task, held_out)
    assert choice is not None
    print(f"{run.config.method}: {choice}")
    return prompts, choice.as_json()


def fit_part(run: Prepared, features: np.ndarray, labels: np.ndarray) -> methods.Prompts:
    """Prompts made from, and trained on, a part of the shots as the whole run is on all.

    Args:
        run: the run.
        features: float32[V, m, d], V views of m shots.
        labels: int32[m].
    """
    method, config, task = run.method, run.config, run.task
    assert method.from_shots is not None
    # Training gave away the arrays of run.prompts.
    start = method.init(jax.random.key(config.seed), task)
    prompts = method.from_shots(start, task, features, labels)
    if not recipes.count_trainable(method, prompts, task.settings):
        return prompts
    steps = run.plan.batches.train_steps(len(labels))
    optimizer, _ = recipes.build_optimizer(config.recipe, method, prompts, task.settings, steps)
    step = train.make_step(method, optimizer)
    state = run.placement.replicate(train.init_state(prompts, optimizer))
    batches = run.plan.batches.features(features, labels)
    with contextlib.closing(batches):
        for _ in range(config.epochs * steps):
            # Not split over devices, whose number need not divide a fold.
            state, _ = step(state, task, run.placement.replicate(next(batches)))
    jax.block_until_ready(state)
    return train.result(method, state)

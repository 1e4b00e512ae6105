"""Chooses settings of a run on held-out training or validation images."""

import functools
from typing import Any

import numpy as np

from experiments.run import training
from experiments.setup.preparation import Prepared
from prompt_jax import methods
from prompt_jax.methods import selection
from prompt_jax.training import features as kept
from prompt_jax.training import loop


def choose(run: Prepared, prompts: methods.Prompts) -> tuple[methods.Prompts, dict[str, Any]]:
    """Returns prompts with the settings that their method chooses, and the choice as JSON.

    The held-out data are the validation images and folds of the shots; in base-to-novel, of the
    base classes. The choice is deterministic.

    Args:
        run: the run.
        prompts: trained prompts.

    Returns:
        The prompts, and `selection.Choice.as_json`; {} if there is nothing to choose.
    """
    return kept.choose(
        run.config.method, run.method, prompts, run.task, lambda: _hold_out(run, prompts)
    )


def _hold_out(run: Prepared, prompts: methods.Prompts) -> list[selection.HeldOut]:
    held_out = []
    with run.plan.listing_all_bad():
        features, labels = run.makes.of_validation(run.plan.train)
    if len(labels):
        held_out.append(selection.HeldOut(prompts, features[None], labels))
    if run.shots and run.shots.features is not None:
        held_out += selection.hold_out_shots(
            functools.partial(fit_part, run),
            run.shots.features,
            run.shots.labels,
            *run.shots.captions,
        )
    return held_out


def fit_part(
    run: Prepared, features: np.ndarray, labels: np.ndarray, *captions: np.ndarray
) -> methods.Prompts:
    """Returns prompts computed from and trained on a part of the shots, as the run does on all.

    Args:
        run: the run.
        features: float32[V, m, d], V views of m shots.
        labels: int32[m].
        captions: see `training.features.encode_captions`.
    """
    return kept.fit_features(
        run.method,
        run.task,
        run.config.recipe,
        features,
        labels,
        *captions,
        seed=run.config.seed,
        placement=run.placement,
        options=loop.Options(training.rate(run.config), title=""),
        place=run.placement.replicate,  # the number of devices need not divide a fold
    )

"""Chooses settings of a run on held-out training or validation images."""

import functools
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from experiments.run import training
from experiments.setup.preparation import Prepared
from prompt_jax import methods
from prompt_jax.evaluation import confidence, programs
from prompt_jax.evaluation.confidence import Calibration
from prompt_jax.methods import selection
from prompt_jax.training import features as kept
from prompt_jax.training import loop


def choose(
    run: Prepared, prompts: methods.Prompts
) -> tuple[methods.Prompts, dict[str, Any], dict[str, Any]]:
    """Returns prompts with the settings that their method chooses, and both choices as JSON.

    The held-out data are the validation images and folds of the shots; in base-to-novel, of the
    base classes. The choices are deterministic.

    Args:
        run: the run.
        prompts: trained prompts.

    Returns:
        The prompts; `selection.Choice.as_json`, {} if there is nothing to choose; and
        `confidence.Calibration.as_json` of the temperature, {} unless `config.calibrate` is set.
    """
    hold_out = functools.cache(lambda: _hold_out(run, prompts))
    prompts, chosen = kept.choose(run.config.method, run.method, prompts, run.task, hold_out)
    if not run.config.calibrate:
        return prompts, chosen, {}
    found = _calibrate(run, prompts, hold_out, chosen.get("values", ()))
    print(f"{run.config.method}: {found}")
    return prompts, chosen, found.as_json()


def _calibrate(
    run: Prepared,
    prompts: methods.Prompts,
    hold_out: Callable[[], Sequence[selection.HeldOut]],
    chosen: Collection[str],
) -> Calibration:
    """Returns the temperature by the validation images, or without any by folds of the shots."""
    train = run.plan.train
    if train.val:
        by = f"{len(train.val)} validation images"
        return confidence.choose_temperature(*_validation_logits(run, prompts), by)
    if run.shots is None or run.shots.features is None:
        return confidence.NOTHING_HELD_OUT
    plain, labels = run.makes.of_examples(train, train.train)
    return confidence.of_folds(run.method, run.task, prompts, hold_out(), chosen, plain, labels)


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


def _validation_logits(run: Prepared, prompts: methods.Prompts) -> tuple[np.ndarray, np.ndarray]:
    """Returns logits float32[n, K] and labels int32[n] of the validation images."""
    train, batches = run.plan.train, run.plan.batches
    prepared = programs.compiled(run.method.prepare)(prompts, run.task)
    score = functools.partial(programs.logits(run.method), prompts, prepared, run.task)
    with run.plan.listing_all_bad():
        found, labels = kept.encode_batches(
            score,
            run.placement,
            "validation logits",
            batches.test(train, train.val),
            batches.test_steps(len(train.val)),
        )
    return found[:, -1], labels


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

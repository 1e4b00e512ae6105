"""Reopens a finished run: its data, tasks and trained prompts. Writes nothing."""

import contextlib
import pathlib
from collections.abc import Mapping
from typing import Any

from data_pipelines.examples import Dataset
from experiments.config.config import Config, change, read
from experiments.config.protocols import PROTOCOLS
from experiments.configs import default
from experiments.record import identity, workdir
from experiments.run import choosing, evaluating, evaluation_plans
from experiments.setup import building, loading, plans, preparation, preprocessing, titles
from experiments.setup.plans import Plan
from experiments.setup.preparation import Prepared
from prompt_jax import methods
from prompt_jax.errors import PromptError, escape
from prompt_jax.methods import Prompts
from prompt_jax.models import saved
from prompt_jax.training import recipes, train
from prompt_jax.training.checkpoint import Checkpoints


def reopen(folder: pathlib.Path, backbone: building.Backbone | None = None) -> Prepared:
    """Returns a finished run in its state before training; `trained` returns its prompts.

    Images that the run excluded are excluded again.

    Args:
        folder: run directory.
        backbone: backbone of the run, if it is already loaded.

    Raises:
        PromptError: there is no finished run, or its backbone or test data have changed.
        DataError: data is missing.
    """
    results, _ = workdir.read_finished(folder)
    config = _config(results["config"])
    config = change(config, {"init_from": ""})  # not needed, and the directory may have moved
    if (folder / saved.TEXTS).is_file():
        config = change(config, {"texts": str(folder / saved.TEXTS)})
    prepared = preprocessing.reread(results.get("preprocessing"), config.data)
    loaded = loading.load(config, folder, backbone, prepared)
    if loaded.backbone.fingerprint != results["backbone_hash"]:
        raise PromptError(
            f"{folder} was run on another backbone than the current {results['backbone']}; "
            "prompts are not transferable between backbones"
        )
    # Zero-shot CLIP does not depend on the training images.
    trains = loaded.method.adaptation is not None or results.get("trainable_parameters") != 0
    kept = _as_tested(loaded.plan, folder, results, trains)
    return preparation.with_tasks(loaded, kept, loaded.identity(loaded.plan.hashes))


def evaluated(folder: pathlib.Path, results: Mapping[str, Any]) -> Mapping[str, Dataset]:
    """Returns the test set of an evaluation, by key.

    Args:
        folder: directory of the evaluation.
        results: content of its results.json.

    Raises:
        PromptError: its test data has changed, or its model is missing.
        DataError: data is missing.
    """
    protocol = "retrieval" if "ranks" in results else "few_shot"
    config = _config(results["config"] | {"protocol": protocol})
    sizes = saved.read(pathlib.Path(results["source"].get("folder", ""))).sizes
    key, *others = results["accuracy"]
    if others:
        raise PromptError(f"{folder} holds several test sets; an evaluation has exactly one")
    prepared = evaluating.prepared(results, config)
    plan = evaluation_plans.build_plan(
        config, titles.key_of(config.data, key), sizes.image_size, prepared
    )
    return _as_tested(plan, folder, results).tests


def _as_tested(
    plan: Plan, folder: pathlib.Path, results: Mapping[str, Any], trains: bool = False
) -> Plan:
    """Returns the plan without excluded images; raises a PromptError if the data has changed."""
    left_out = results["skipped_pictures"]
    for part in identity.changed(results["data_hashes"], plan.hashes, bool(left_out)):
        if part == "train" and not trains:
            continue
        done = "trained" if part == "train" else f"tested ({part})"
        raise PromptError(
            f"{folder} was {done} on other {plan.train.kind} than the current ones: names, labels, "
            "sizes or contents of files differ; restore them, or run again in another directory"
        )
    return plans.without(plan, left_out, replaces="replacements" in results)


def trained(run: Prepared) -> Prompts:
    """Returns the trained prompts of a reopened run.

    Raises:
        PromptError: the checkpoint of its last step is missing or damaged.
    """
    if run.method.adaptation:
        run = preparation.with_shots(run)
    prompts = _restore(run) if run.trainable else run.prompts
    return choosing.choose(run, prompts)[0]


def _restore(run: Prepared) -> Prompts:
    making = run.plan.batches
    steps = making.train_steps(making.train_examples(run.plan.train))
    optimizer = recipes.build_optimizer(
        run.config.recipe, run.method, run.prompts, run.task.settings, steps
    )
    folder, last = run.folder / "checkpoints", run.config.epochs * steps
    missing = PromptError(
        f"{folder} has no checkpoint of the last step, {last}, so the trained prompts are lost; "
        "train the run again in another directory"
    )
    if not folder.is_dir():
        raise missing
    with contextlib.closing(Checkpoints(folder)) as checkpoints:
        if checkpoints.latest() != last:
            raise missing
        state, _ = checkpoints.restore(last, train.init_state(run.prompts, optimizer))
    return run.placement.replicate(train.result(state))


def _config(written: dict[str, Any]) -> Config:
    """Returns the config of a results.json; fields added in later versions get their defaults.

    Raises:
        PromptError: a field is unknown or has another type.
    """
    try:
        method = written["method"]
        by_captions = PROTOCOLS[written["protocol"]].by_captions
        of_videos = not methods.of_images(method) or by_captions
        usual = default.get_config(method, kind="videos" if of_videos else "images")
        return change(read(usual), dict(identity.flat(written)))
    except PromptError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = escape(str(error).splitlines()[0])
        raise PromptError(f"the config in results.json is malformed ({reason})") from None

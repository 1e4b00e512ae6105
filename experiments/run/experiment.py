"""Runs one experiment: data, backbone, method, training, evaluation and results from a config."""

import contextlib
import dataclasses
import os
import pathlib
import statistics
import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from data_pipelines import datasets
from data_pipelines.examples import Dataset
from experiments.cli import memory
from experiments.config.config import Config
from experiments.record import identity, tracking, training_list, workdir
from experiments.record.runs import STAND_IN
from experiments.run import choosing, models, testing, training
from experiments.setup import building, overview
from experiments.setup.loading import finished, load
from experiments.setup.plans import Plan
from experiments.setup.preparation import Prepared, prepare
from prompt_jax.cli import hosts
from prompt_jax.evaluation import reliability
from prompt_jax.evaluation.metrics import harmonic_mean
from prompt_jax.models import saved
from prompt_jax.storage.files import seal
from prompt_jax.training.loop import Trained
from prompt_jax.training.saving import described

# Only for classification; evaluations of earlier versions lack these fields.
_RELIABILITY = (
    "interval",
    "zero_shot_interval",
    "calibration_error",
    "zero_shot_calibration_error",
    "confidence",
    "zero_shot_confidence",
    "class_accuracy",
    "macro_accuracy",
    "zero_shot_macro_accuracy",
)


def run(config: ConfigDict | Config, folder: str | os.PathLike) -> dict[str, Any]:
    """Trains and tests by the config's protocol, and writes results.json to the run directory.

    Returns the results of a finished run without running it again; resumes an interrupted run.

    Raises:
        PromptError, DataError: config, data or run directory are invalid; a one-line message.
    """
    loaded = load(config, pathlib.Path(folder))
    if there := finished(loaded):
        return there
    with memory.explain_out_of_memory(loaded.config):
        prepared = prepare(loaded)
    with workdir.release_on_error(prepared.folder), memory.explain_out_of_memory(loaded.config):
        return complete(prepared)


def complete(prepared: Prepared) -> dict[str, Any]:
    """Trains the run if its method needs training, then finishes it."""
    trained = Trained(prepared.prompts)
    if prepared.shots:
        with prepared.plan.listing_all_bad(), contextlib.closing(prepared.shots.batches):
            trained = training.fit(prepared)
    return finish(prepared, trained)


def finish(run: Prepared, trained: Trained) -> dict[str, Any]:
    """Tests the prompts on each test set and writes the files of the run, results.json last."""
    prompts, chosen, calibration = choosing.choose(run, trained.prompts)
    run = dataclasses.replace(run, temperature=calibration.get("temperature", 1.0))
    evaluations = workdir.read_evaluations(run.folder)
    for key, dataset in run.plan.tests.items():
        data_hash = identity.of_test(run.plan.hashes, key)
        if evaluations.get(key, {}).get("hash") == data_hash:
            continue
        began = time.perf_counter()
        with run.plan.listing_all_bad(dataset):
            found = testing.test(run, prompts, key)
        evaluations[key] = found | {"hash": data_hash, "seconds": time.perf_counter() - began}
        workdir.refuse_removed(run.folder)
        workdir.write_json(run.folder / "evaluations.json", seal(evaluations))
    results = collect(run.config, run.backbone, run.plan, evaluations, trained)
    results["data_hashes"] = identity.with_earlier(
        run.plan.hashes, {key: one["hash"] for key, one in evaluations.items()}
    )
    results["data_hash"] = identity.of_tests(run.plan.hashes)
    whole = _drawn_from(run)
    results["training_list"] = training_list.identify(whole, run.plan.train) if whole else {}
    results["trainable_parameters"] = run.trainable
    if "preprocessing" in run.identity:
        results["preprocessing"] = run.identity["preprocessing"]
    if run.task.texts:
        results["texts"] = {"file": run.config.texts, "digest": run.task.texts.digest}
    if run.second:
        source = {"source": run.config.second_backbone, "hash": run.second.fingerprint}
        results["second_backbone"] = source
    if run.start:
        results["init_from"] = {
            "folder": run.config.init_from,
            "prompts": saved.digest(run.start.prompts),
        }
    results["chosen"] = chosen
    if calibration:
        results["calibration"] = calibration
    results["features"] = run.shots.described if run.shots else ""
    results["devices"] = described(run.placement)
    results["seconds"] = time.perf_counter() - run.began
    workdir.refuse_removed(run.folder)
    if hosts.is_first():
        models.write(run, prompts, results, models.in_words(time.time()))
    results = seal(results)
    workdir.write_json(run.folder / "results.json", results)
    workdir.release(run.folder)
    if hosts.is_first():
        tracking.log_results(run.config.tracker, run.identity, run.folder, results)
    if trained.seconds:
        share = results["data_wait_share"]
        print(f"training waited for {run.plan.train.kind} for at most {share:.1%} of its time")
    return results


def _drawn_from(run: Prepared) -> Dataset | None:
    """Returns the data set that training images come from; None without them or by fixed lists."""
    if not run.shots:
        return None
    whole = not run.config.protocol_spec.draws_shots
    return run.plan.train if whole else run.plan.drawn_from


def collect(
    config: Config,
    backbone: building.Backbone,
    plan: Plan,
    evaluations: dict[str, dict[str, Any]],
    trained: Trained,
) -> dict[str, Any]:
    """Returns the content of a run's results.json."""
    figures = figures_of(evaluations)
    accuracy, zero_shot = figures["accuracy"], figures["zero_shot"]
    test_rate = figures["test_images_per_second"]
    results = {
        "method": config.method,
        "protocol": config.protocol,
        "ablation": config.ablation,
        "variant": config.variant,
        "backbone": config.backbone,
        "backbone_hash": backbone.fingerprint,
        "assumed": list(backbone.assumed),
        "dataset": plan.title,
        "kind": plan.train.kind,
        "split_source": plan.train.split_source,
        "shots": config.data.shots if config.protocol_spec.draws_shots else 0,
        "shots_per_class": overview.shots_per_class(plan),
        "seed": config.seed,
        **figures,
        "pictures": {"train": len(plan.train.train), **figures["pictures"]},
        "skipped_pictures": skipped(plan),
        "replacements": list(plan.replacements),
        "data_notes": list(plan.notes),
        "images_per_second": trained.images / trained.seconds if trained.seconds else test_rate,
        "train_seconds": trained.seconds,
        "trained_together": trained.together,
        "data_wait_share": trained.waiting / trained.seconds if trained.seconds else 0.0,
        "git_commit": workdir.git_commit(),
        "config": identity.as_json(config),
    }
    if config.protocol == "base_to_novel":
        results |= accuracy | {"h": harmonic_mean(accuracy["base"], accuracy["new"])}
        zero_shot["h"] = harmonic_mean(zero_shot["base"], zero_shot["new"])
        for field, halves in (("interval", accuracy), ("zero_shot_interval", zero_shot)):
            numbers = [(halves[half], evaluations[half]["pictures"]) for half in ("base", "new")]
            figures[field]["h"] = [*reliability.harmonic(*numbers[0], *numbers[1])]
    if config.protocol == "zero_shot_transfer":
        results["over_lists"] = over_lists(accuracy)
        results["zero_shot_over_lists"] = over_lists(zero_shot)
    if config.backbone == "embedded" or config.data.name.startswith("emoji_"):
        results["note"] = STAND_IN
    return results


def figures_of(evaluations: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Returns the fields of results.json about tests, each by test set."""

    def all_of(field):
        return {key: evaluation[field] for key, evaluation in evaluations.items()}

    def where_there(field):  # missing for retrieval and in evaluations of earlier versions
        return {key: found[field] for key, found in evaluations.items() if field in found}

    images, seconds = sum(all_of("pictures").values()), sum(all_of("seconds").values())
    figures = {
        "accuracy": all_of("accuracy"),
        "zero_shot": all_of("zero_shot"),
        **{field: where_there(field) for field in _RELIABILITY},
        "top5": where_there("top5"),
        "zero_shot_top5": where_there("zero_shot_top5"),
        "per_iteration": all_of("per_iteration"),
        "classes": all_of("classes"),
        "pictures": {f"test_{key}": number for key, number in all_of("pictures").items()},
        "split_sources": all_of("split_source"),
        "test_seconds": seconds,
        "test_images_per_second": images / seconds,
    }
    if "ranks" in next(iter(evaluations.values())):
        figures |= {field: all_of(field) for field in ("ranks", "zero_shot_ranks", "captions")}
        intervals = ("rank_intervals", "zero_shot_rank_intervals")
        figures |= {field: where_there(field) for field in intervals}
    return figures


def skipped(plan: Plan) -> list[str]:
    """Returns the excluded images of a plan with reasons."""
    return [f"{path}: {reason}" for path, reason in plan.bad]


def over_lists(accuracy: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Returns mean and standard deviation for data sets with several test lists, "name:part"."""
    of_name: dict[str, list[float]] = defaultdict(list)
    for key, value in accuracy.items():
        name, part = datasets.split_domain(key)
        if part and name in datasets.TABLE and datasets.has_published_parts(name):
            of_name[name].append(value)
    return {
        name: {"mean": statistics.mean(values), "std": statistics.stdev(values)}
        for name, values in of_name.items()
        if len(values) > 1
    }

"""Writes the trained model of a run, for `saved.read`."""

import dataclasses
import datetime
from collections.abc import Mapping
from typing import Any

import jax

from experiments.config.config import Config
from experiments.record.identity import figure_fields
from experiments.setup.preparation import Prepared
from prompt_jax.methods import Prompts
from prompt_jax.models import saved
from prompt_jax.models.saved import Saved

# Fields of results.json that model.json repeats.
_TOLD = (
    "assumed",
    "dataset",
    "protocol",
    "ablation",
    "variant",
    "shots",
    "shots_per_class",
    "seed",
    "training_list",
    "accuracy",
    "zero_shot",
    "h",
    "chosen",
    "calibration",
    "features",
    "trainable_parameters",
    "git_commit",
    "note",
)


def write(run: Prepared, prompts: Prompts, results: Mapping[str, Any], date: str) -> None:
    """Writes the files to the run directory.

    Args:
        run: the run.
        prompts: the tested prompts.
        results: content of its results.json.
        date: when the run was finished; see `in_words`.

    Raises:
        OSError: a file cannot be written.
    """
    saved.write(run.folder, describe(run, prompts, results, date))


def describe(run: Prepared, prompts: Prompts, results: Mapping[str, Any], date: str) -> Saved:
    """Returns the trained model of a run; for the arguments see `write`."""
    config, plan, clip = run.config, run.plan, run.backbone.clip
    return Saved(
        method=config.method,
        kind=plan.train.kind,
        task="captions" if plan.by_captions else "classes",
        settings=dict(config.settings),
        class_names=() if plan.by_captions else plan.train.class_names,
        template=plan.train.template,
        backbone=config.backbone,
        backbone_hash=run.backbone.fingerprint,
        activation=config.activation,
        dtype=config.dtype,
        precision=config.precision,
        sizes=clip.config,
        inputs=dataclasses.replace(plan.batches.inputs, upright=plan.train.upright),
        trained=describe_training(config, results, date),
        prompts=jax.device_get(prompts),
        class_ids=() if plan.by_captions else plan.train.classes.ids,
        texts=run.task.texts,
        temperature=run.temperature,
    )


def describe_training(config: Config, results: Mapping[str, Any], date: str) -> dict[str, Any]:
    """Returns the record of a training; runs of one average share its "config"."""
    told = {field: results[field] for field in _TOLD if field in results}
    if "init_from" in results:  # without the path, because models are shared
        told["init_from"] = results["init_from"]["prompts"]
    return told | {
        "domain": config.data.domain,
        "epochs": config.epochs,
        "learning_rate": config.learning_rate,
        "views": config.data.views,
        "date": date,
        "config": figure_fields(
            results["config"],
            results.get("preprocessing"),
            results.get("texts"),
            results.get("second_backbone"),
        ),
    }


def in_words(seconds: float) -> str:
    """Formats seconds since 1970 as "2026-02-03 14:05:06 UTC"."""
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"

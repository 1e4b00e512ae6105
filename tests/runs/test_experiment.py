"""Base-to-novel runs of every method on a tiny CLIP, on own images and rendered scenes."""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
import tiny
from ml_collections import ConfigDict

from experiments.figures import tables
from experiments.record import workdir
from experiments.record.identity import as_json
from experiments.run import experiment, training
from experiments.setup import preparation
from prompt_jax import methods
from prompt_jax.clip import loading
from prompt_jax.errors import PromptError
from prompt_jax.evaluation.metrics import harmonic_mean

FIELDS = {
    "method",
    "protocol",
    "backbone",
    "backbone_hash",
    "dataset",
    "ablation",
    "variant",
    "kind",
    "data_hash",
    "data_hashes",
    "training_list",
    "split_source",
    "split_sources",
    "features",
    "chosen",
    "trainable_parameters",
    "accuracy",
    "shots",
    "shots_per_class",
    "seed",
    "base",
    "new",
    "h",
    "zero_shot",
    "top5",
    "zero_shot_top5",
    "interval",
    "zero_shot_interval",
    "calibration_error",
    "zero_shot_calibration_error",
    "confidence",
    "zero_shot_confidence",
    "class_accuracy",
    "macro_accuracy",
    "zero_shot_macro_accuracy",
    "per_iteration",
    "classes",
    "pictures",
    "skipped_pictures",
    "replacements",
    "data_notes",
    "assumed",
    "devices",
    "seconds",
    "images_per_second",
    "train_seconds",
    "data_wait_share",
    "trained_together",
    "test_seconds",
    "test_images_per_second",
    "git_commit",
    "digest",
    "config",
}
TIMES = {key for key in FIELDS if key.endswith(("seconds", "per_second", "wait_share", "digest"))}
ITERATIONS = 2
# Methods that every test here runs; the others make one run each.
CORE = ("zero_shot", "coop", "cocoop", "pro_mpt")
# A row per method: its settings here, and the number of cached views per image if it caches
# features.
METHODS: dict[str, tuple[dict[str, Any], int]] = {
    "zero_shot": ({}, 0),
    "coop": ({"context_length": 3}, 0),
    "cocoop": ({}, 0),
    "pro_mpt": ({"iterations": ITERATIONS, "vision_prompts": 2, "vision_depth": 2}, 0),
    "vpt": ({"vision_prompts": 2}, 0),
    "ivlp": ({}, 0),
    "maple": ({}, 0),
    "promptsrc": ({"average_mean": 2.0}, 0),
    "kgcoop": ({}, 2),
    "biomedcoop": ({}, 2),
    "clip_adapter": ({}, 2),
    "mocoop": ({"groups": [1, 2], "templates": ["a photo of a {}.", "a {}.", "art, {}."]}, 2),
    "mocoop_norms": ({"groups": [1], "templates": ["a photo of a {}."], "chosen": 1}, 0),
    "tip_adapter": ({}, 2),
    "tip_adapter_f": ({}, 2),
    "gda": ({}, 1),
    "caps_adapter": ({"alpha_steps": 2, "beta_steps": 3, "gamma_steps": 3, "delta_steps": 2}, 2),
    "description": ({}, 0),
    "fudd": ({"ambiguous": 2}, 0),
    "perception_clip": ({}, 0),
    "gopro": ({}, 0),
}
TRAIN_NOTHING = ("zero_shot", "tip_adapter", "gda", "caps_adapter", "description", "fudd")
TRAIN_NOTHING += ("perception_clip",)
STEPS = 6  # two epochs of three steps


class Setting(NamedTuple):
    """Files that the runs read, and where they write."""

    clip: Path
    root: Path
    results: Path


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    """Returns the tiny CLIP and data set."""
    folder = tmp_path_factory.mktemp("runs")
    clip = tiny.save_clip(folder / "clip")
    return Setting(clip, tiny.save_caltech101(folder / "data"), folder / "results")


def small_config(method: str, clip: Path, root: Path | None) -> ConfigDict:
    """Returns the method's row as a config."""
    settings, views = METHODS[method]
    config = tiny.small_config(method, clip, root, **settings)
    config.cached_views = views
    if kind := methods.METHODS[method].texts:
        config.texts = str(tiny.save_texts(clip.parent, kind))
    return config


def run(setting: Setting, method: str, folder: str, scenes: bool = False, **data: Any) -> dict:
    """Runs a method in `folder`, or returns the results that are there."""
    root = None if scenes else setting.root
    config = small_config(method, setting.clip, root)
    config.data.update(data)
    return experiment.run(config, setting.results / folder)


def without_times(results: dict) -> dict:
    """Returns the parts that must be equal in two runs of one config."""
    kept = {key: value for key, value in results.items() if key not in TIMES}
    kept["config"] = {**kept["config"], "data": {**kept["config"]["data"], "num_threads": None}}
    return kept


@pytest.mark.slow
@pytest.mark.parametrize("method", ["gda", "tip_adapter", "tip_adapter_f"])
def test_selected_settings_are_recorded_and_printed(setting, method, capsys):
    chosen = run(setting, method, f"{method}-False")["chosen"]
    message = capsys.readouterr().out
    assert "cross-validation over 6 shots in 3 folds" in chosen["by"]
    assert set(chosen["values"]) == ({"alpha"} if method == "gda" else {"alpha", "beta"})
    assert (
        f"{method}: alpha={chosen['values']['alpha']:g}" in message or "already finished" in message
    )
    json.dumps(chosen, allow_nan=False)


@pytest.mark.slow
def test_a_given_setting_is_used_and_nothing_is_selected(setting):
    config = small_config("gda", setting.clip, setting.root)
    config.settings.alpha = 0.0
    results = experiment.run(config, setting.results / "given")
    assert results["chosen"] == {}
    assert results["accuracy"] == {key: results["zero_shot"][key] for key in ("base", "new")}


def test_every_method_of_the_table_has_a_row():
    # Methods that label images themselves have another protocol, see tests/labeling.
    reads = {name for name, method in methods.METHODS.items() if method.labeling is None}
    assert set(METHODS) == reads


@pytest.mark.parametrize(
    ("method", "scenes"),
    [
        ("coop", False),  # the only run of `./run.sh test --quick`
        *(
            pytest.param(method, scenes, marks=pytest.mark.slow)
            for names, scenes in ((METHODS, False), (CORE, True))
            for method in names
            if (method, scenes) != ("coop", False)
        ),
    ],
)
def test_results_have_the_documented_fields(setting, method, scenes, capsys):
    folder = f"{method}-{scenes}"
    results = run(setting, method, folder, scenes)
    assert json.loads((setting.results / folder / "results.json").read_text()) == results
    further = {"note"} if scenes else set()
    further |= {"texts"} if methods.METHODS[method].texts else set()
    assert set(results) == FIELDS | further
    config = small_config(method, setting.clip, None if scenes else setting.root)
    assert results["config"] == as_json(config)
    named = {
        key: results[key] for key in ("method", "shots", "seed", "dataset", "skipped_pictures")
    }
    assert named == {
        "method": method,
        "shots": 3,
        "seed": 1,
        "dataset": "emoji_scenes" if scenes else "caltech101",
        "skipped_pictures": [],
    }
    assert results["shots_per_class"] == [3, 3]
    assert results["pictures"] == {"train": 6, "test_base": 6, "test_new": 6}
    assert results["seconds"] > 0 and results["images_per_second"] > 0 and results["git_commit"]

    assert (results["trainable_parameters"] == 0) == (method in TRAIN_NOTHING)
    assert results["features"].startswith("cached: ") == (METHODS[method][1] > 0)
    for scores in (results, results["zero_shot"]):
        assert scores["h"] == pytest.approx(harmonic_mean(scores["base"], scores["new"]))
        for half in ("base", "new"):
            # Percent of six images.
            assert scores[half] * 6 / 100 == pytest.approx(round(scores[half] * 6 / 100))
    for half in ("base", "new"):
        accuracies = results["per_iteration"][half]
        assert len(accuracies) == (1 + ITERATIONS if method == "pro_mpt" else 1)
        assert accuracies[-1] == results[half]
        if method == "pro_mpt":
            # Both data sets have the template "a photo of a {}.", which p⁰ uses.
            assert accuracies[0] == results["zero_shot"][half]

    tables.print_run(results)
    printed = capsys.readouterr().out
    assert f"{results['h']:.2f}" in printed and ("stand-in" in printed) == scenes


@pytest.mark.slow
@pytest.mark.parametrize("method", [m for m in CORE if m != "zero_shot"])
def test_every_logging_step_has_a_line_and_tensorboard_a_file(setting, method):
    run(setting, method, f"{method}-False")
    workdir = setting.results / f"{method}-False"
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    for line in lines:
        assert set(line) == {"step", "loss", "accuracy", "learning_rate", "seconds_per_step"}
        assert math.isfinite(line["loss"]) and 0 <= line["accuracy"] <= 100
    # Of two epochs, epoch 0 warms up and epoch 1 starts at the base rate.
    rates = [line["learning_rate"] for line in lines]
    assert rates == pytest.approx([1e-5] * 3 + [0.008] * 3)
    (events,) = (workdir / "tensorboard").iterdir()
    assert events.name.startswith("events.out.tfevents") and events.stat().st_size > 0


@pytest.mark.slow
def test_zero_shot_trains_nothing(setting):
    results = run(setting, "zero_shot", "zero_shot-False")
    workdir = setting.results / "zero_shot-False"
    files = sorted(path.name for path in workdir.iterdir())
    assert files == [
        *("confusion-base.csv", "confusion-new.csv", "evaluations.json", "model.json"),
        *("predictions-base.parquet", "predictions-new.parquet", "prompts.safetensors"),
        *("results.json", "run.json"),
    ]
    assert results["train_seconds"] == 0
    assert {key: results[key] for key in ("base", "new", "h")} == results["zero_shot"]


@pytest.mark.slow
@pytest.mark.parametrize("method", CORE)
def test_the_same_seed_gives_the_same_results_with_any_number_of_threads(setting, method):
    first = run(setting, method, f"{method}-False")
    again = run(setting, method, f"{method}-again", num_threads=2)
    assert without_times(first) == without_times(again)
    if method != "zero_shot":
        one, two = (tiny.prompts_of(setting.results / f"{method}-{x}") for x in ("False", "again"))
        assert one.keys() == two.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], two[name], err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["coop", "pro_mpt"])
def test_frozen_parameters_stay_bitwise_identical_and_prompts_change(setting, method, monkeypatch):
    seen: dict[str, Any] = {}

    def fit(prepared):
        start = jax.tree.map(np.array, prepared.prompts)
        trained = training_fit(prepared)
        seen.update(task=prepared.task, start=start, end=trained.prompts)
        return trained

    training_fit = training.fit
    monkeypatch.setattr(training, "fit", fit)
    run(setting, method, f"{method}-frozen")
    _, loaded = loading.load(setting.clip)
    jax.tree.map(np.testing.assert_array_equal, seen["task"].frozen, loaded)
    for before, after in zip(
        jax.tree.leaves(seen["start"]), jax.tree.leaves(seen["end"]), strict=True
    ):
        assert np.any(np.asarray(before) != np.asarray(after))


def test_the_harmonic_mean():
    assert harmonic_mean(80.94, 74.89) == pytest.approx(77.80, abs=0.005)  # ProMPT, Table 1
    assert harmonic_mean(50.0, 50.0) == 50.0
    assert harmonic_mean(0.0, 0.0) == harmonic_mean(80.0, 0.0) == 0.0


@pytest.mark.slow
def test_a_diverged_run_is_reported(setting):
    config = small_config("coop", setting.clip, setting.root)
    config.learning_rate = 1e38
    config.epochs = 4
    with pytest.raises(ValueError, match=r"diverged at step \d+: .*config.learning_rate=1e[+]38"):
        experiment.run(config, setting.results / "diverged")


def test_prompts_deeper_than_the_tower_are_reported(capsys):
    preparation.note_small_tower(methods.get("pro_mpt").Settings(), 4)
    assert "vision_depth=9: the image tower has 4 layers" in capsys.readouterr().out
    preparation.note_small_tower(methods.get("pro_mpt").Settings(), 12)
    assert capsys.readouterr().out == ""


def test_a_directory_belongs_to_its_first_run_even_without_checkpoint_or_results(tmp_path):
    workdir.claim_workdir(tmp_path, {"method": "zero_shot", "seed": 1})
    with pytest.raises(PromptError, match="holds another run .method: 'pro_mpt' here, 'zero_shot'"):
        workdir.claim_workdir(tmp_path, {"method": "pro_mpt", "seed": 1})

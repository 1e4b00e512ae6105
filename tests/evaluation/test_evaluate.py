"""Finished runs are evaluated on other data, without training."""

import csv
import dataclasses
import json
import shutil
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
import pytest
import tiny
from test_overview import save_folders

from experiments import evaluate, results
from experiments.cli.command_line import explain
from experiments.configs import default
from experiments.record import runs
from experiments.run import experiment, reopening
from experiments.setup import building
from prompt_jax.models import saved

SCENES = ("--config.data.num_classes=4", "--config.data.test_per_class=3")
QUICK = ("--config.eval_batch_size=4", "--config.data.num_threads=0")


class FinishedRuns(NamedTuple):
    """A directory of runs, and the results of each by name."""

    clip: Path
    root: Path
    runs: Path
    results: dict


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Returns runs on scenes: CoOp with two seeds, class-specific CoOp, ProMPT. Tests copy it."""
    folder = tmp_path_factory.mktemp("there")
    clip, root = tiny.save_clip(folder / "clip"), tiny.save_caltech101(folder / "data")
    found = {}
    for name, method, seed, settings in (
        ("coop-1", "coop", 1, {"context_length": 2}),
        ("coop-2", "coop", 2, {"context_length": 2}),
        ("own", "coop", 1, {"context_length": 2, "class_specific": True}),
        ("pro_mpt", "pro_mpt", 1, {"iterations": 1}),
    ):
        config = tiny.small_config(method, clip, **settings)
        config.seed, config.epochs = seed, 1
        config.protocol = "few_shot" if name == "own" else "base_to_novel"
        found[name] = experiment.run(config, folder / "runs" / name)
    return FinishedRuns(clip, root, folder / "runs", found)


@pytest.fixture
def copied(finished, tmp_path):
    """Returns copies of the run directories, which evaluations may write to."""
    shutil.copytree(finished.runs, tmp_path / "runs")
    return tmp_path / "runs"


def call(*words):
    return explain(evaluate.start, [str(word) for word in words])


def read(folder):
    """Returns the results of the evaluations in a directory, by test set."""
    contents = [json.loads(path.read_text()) for path in folder.glob("*/results.json")]
    return {key: content for content in contents for key in content["accuracy"]}


def test_evaluating_halves_of_the_classes_reproduces_the_run(finished, copied, capsys):
    names = "--config.data.names=emoji_scenes:base,emoji_scenes:new"
    assert call(copied / "coop-1", copied / "pro_mpt", names, *SCENES, *QUICK) == 0
    for name in ("coop-1", "pro_mpt"):
        for key, found in read(copied / name / "evaluations").items():
            expected, half = finished.results[name], key.rpartition(":")[2]
            assert found["accuracy"][key] == expected["accuracy"][half]
            assert found["zero_shot"][key] == expected["zero_shot"][half]
            assert found["per_iteration"][key] == expected["per_iteration"][half]
            assert found["protocol"] == "evaluation" and found["dataset"] == "emoji_scenes"
            assert found["source"]["protocol"] == "base_to_novel"
    printed = capsys.readouterr().out
    assert "trained on emoji_scenes by base_to_novel" in printed
    assert "coop" in printed and "zero_shot" in printed and "stand-in" in printed


def test_other_data_is_tested_with_its_own_classes_and_predictions(finished, copied):
    words = (
        copied / "pro_mpt",
        "--config.data.names=caltech101",
        f"--config.data.root={finished.root}",
    )
    assert call(*words, *QUICK) == 0
    [place] = (copied / "pro_mpt/evaluations").iterdir()
    assert {path.name for path in place.iterdir()} == {
        "confusion-caltech101.csv",
        "predictions-caltech101.parquet",
        "results.json",
    }
    rows = pq.read_table(place / "predictions-caltech101.parquet").to_pylist()
    found = json.loads((place / "results.json").read_text())
    right = [row["right"] for row in rows]
    assert 100 * sum(right) / len(right) == pytest.approx(found["accuracy"]["caltech101"])
    assert {row["class"] for row in rows} == {name.replace("_", " ") for name in tiny.CLASSES}
    assert found["source"]["prompts"] == saved.digest(saved.read(copied / "pro_mpt").prompts)
    assert found["classes"] == {"caltech101": 4}


def test_own_data_is_named_by_its_title(copied, tmp_path):
    save_folders(tmp_path / "own", train={"a": 2, "b": 2}, test={"a": 1, "b": 2})
    words = ["--config.data.names=folder", f"--config.data.root={tmp_path / 'own'}"]
    assert call(copied / "coop-1", *words, "--config.data.title=birds", *QUICK) == 0
    [(key, found)] = read(copied / "coop-1" / "evaluations").items()
    assert (key, found["pictures"]) == ("birds", {"test_birds": 3})
    [place] = (copied / "coop-1/evaluations").iterdir()
    assert place.name.startswith("birds-")
    assert [*reopening.evaluated(place, found)] == ["birds"]


def test_a_finished_evaluation_is_not_repeated(finished, copied, capsys, monkeypatch):
    words = (copied / "coop-1", "--config.data.names=emoji_scenes", *SCENES, *QUICK)
    assert call(*words) == 0
    before = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}
    with monkeypatch.context() as patch:
        patch.setattr(building, "build_backbone", None)
        assert call(*words, "--config.memory_gb=1") == 0
    assert "already evaluated" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()} == before
    # Other images of the same name, and the same images with other prompts, are other evaluations.
    assert call(*words, "--config.data.test_per_class=2") == 0
    model = saved.read(copied / "coop-1")
    model.prompts["context"][0] += 1
    saved.write(copied / "coop-1", model)
    assert call(*words) == 0
    assert len(list((copied / "coop-1/evaluations").iterdir())) == 3
    assert "already evaluated" not in capsys.readouterr().out


def test_each_backbone_is_loaded_once(copied, monkeypatch):
    loaded = []
    build = building.build_backbone
    monkeypatch.setattr(
        building, "build_backbone", lambda *given: loaded.append(1) or build(*given)
    )
    folders = (copied / "coop-1", copied / "coop-2", copied / "pro_mpt")
    assert call(*folders, "--config.data.names=emoji_scenes:new", *SCENES, *QUICK) == 0
    assert loaded == [1]


def test_tables_separate_evaluations_and_training_runs(finished, copied, tmp_path):
    folders = (copied / "coop-1", copied / "coop-2", copied / "own")
    names = "--config.data.names=emoji_scenes,emoji_scenes:base"
    # Class-specific contexts lack those of half of the classes under other labels: all are known.
    assert call(*folders, names, *SCENES, *QUICK) == 0
    summary = results.summarize(copied)
    assert not summary.remarks
    tables = {(table.protocol, table.trained_by): table for table in summary.tables}
    assert set(tables) == {
        ("base_to_novel", ""),
        ("few_shot", ""),
        ("evaluation", "base_to_novel"),
        ("evaluation", "few_shot"),
    }
    table = tables["evaluation", "base_to_novel"]
    assert [row.label for row in table.rows] == ["zero_shot", "coop"]
    assert table.datasets == ["emoji_scenes", "emoji_scenes:base"]
    lines = table.rows[1].lines
    found = lines[(lines.dataset == "emoji_scenes:base") & (lines.metric == "accuracy")]
    assert dict(zip(found.seed, found.value, strict=True)) == {
        seed: finished.results[f"coop-{seed}"]["accuracy"]["base"] for seed in (1, 2)
    }
    trained = tables["base_to_novel", ""]
    assert {row.label: len(row.runs) for row in trained.rows} == {
        "zero_shot": 2,
        "coop": 2,
        "pro_mpt": 1,
    }
    paths = results.write(copied, tmp_path / "tables")
    assert len(set(paths)) == len(paths)
    with (tmp_path / "tables/evaluation.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["source"] for row in rows} == {"emoji_scenes"}
    assert "trained on emoji_scenes by few_shot" in (tmp_path / "tables/evaluation.md").read_text()


def test_evaluations_may_be_written_elsewhere(copied, tmp_path, capsys):
    words = (copied / "coop-1", copied / "coop-2", "--config.data.names=emoji_scenes:sketch")
    assert call(*words, *SCENES, *QUICK, "--out", tmp_path / "out") == 0
    assert not (copied / "coop-1/evaluations").exists()
    found, problems = runs.read(tmp_path / "out")
    assert [run.seed for run in sorted(found, key=lambda run: run.seed)] == [1, 2]
    assert not problems
    for path in (tmp_path / "out").glob("*/results.json"):
        path.write_text("{}")
    assert call(*words, *SCENES, *QUICK, "--out", tmp_path / "out") == 2
    assert "is damaged" in capsys.readouterr().err


def test_a_failed_evaluation_does_not_stop_the_others(finished, copied, capsys):
    words = (copied / "own", copied / "coop-1", f"--config.data.root={finished.root}")
    names = "--config.data.names=caltech101,emoji_clips"
    assert call(*words, names, *QUICK, "--config.data.frames=2") == 2
    message = capsys.readouterr()
    assert (
        f"{copied / 'own'} on caltech101: with these settings the method has prompts" in message.err
    )
    assert message.err.count("evaluations failed") == 1 and "2 of 4" in message.err
    # An image method uses the mean over the frames of a video.
    assert set(read(copied / "coop-1/evaluations")) == {"caltech101", "emoji_clips"}
    assert not (copied / "own/evaluations").exists()


def test_a_model_without_a_training_record_is_tested_too(finished, copied, capsys):
    model = saved.read(copied / "coop-1")
    saved.write(copied / "coop-1", dataclasses.replace(model, trained={}))
    words = (copied / "coop-1", "--config.data.names=emoji_scenes:new", *SCENES, *QUICK)
    assert call(*words) == 0
    [found] = read(copied / "coop-1/evaluations").values()
    assert found["accuracy"]["emoji_scenes:new"] == finished.results["coop-1"]["accuracy"]["new"]
    assert "trained on other data by prompt_jax.fit, backbone" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "--config.data.names is required; name the test sets"),
        (("--config.data.names=nonsense",), "unknown data set 'nonsense'"),
        (("--config.data.names=emoji_scenes:nonsense",), "nonsense"),
        (("--config.data.names=a", "--config.epochs=3"), "--config.epochs applies only to"),
        (("--config.data.names=a", "--config.eval_size=3"), "unknown flag 'config.eval_size'"),
        (("--config.data.names=emoji_scenes", "--config.data.views=2"), "holds images"),
        (("--config.data.names=emoji_scenes", "--config.backbone=embedded"), "another backbone"),
        (("--config.data.names=caltech101", "--config.data.root=/none"), "/none"),
    ],
)
def test_user_errors_are_one_line(copied, words, message, capsys):
    assert call(copied / "coop-1", *words, *QUICK) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
    assert not (copied / "coop-1/evaluations").exists()


def test_directories_without_a_model_are_rejected_before_any_test(copied, tmp_path, capsys):
    (copied / "coop-2/model.json").unlink()
    names = "--config.data.names=emoji_scenes"
    assert call(copied / "coop-1", copied / "coop-2", names, *SCENES, *QUICK) == 2
    assert "complete it: python -m experiments.complete" in capsys.readouterr().err
    assert not (copied / "coop-1/evaluations").exists()


def on_videos(clip, method, protocol, **settings):
    c = default.get_config(method, kind="videos", **settings)
    c.backbone, c.protocol, c.data.name = str(clip), protocol, "emoji_clips"
    c.data.frames, c.data.num_threads = 2, 0
    c.data.train_per_class, c.data.test_per_class = 1, 1
    c.batch_size, c.eval_batch_size, c.epochs = 11, 33, 1
    return c


VIDEOS = ("--config.data.train_per_class=1", "--config.data.test_per_class=1")


@pytest.mark.slow
def test_retrieval_on_other_videos_uses_the_settings_of_the_run(finished, tmp_path, capsys):
    config = on_videos(finished.clip, "vop", "retrieval", text_prompts=1, vision_prompts=2)
    trained = experiment.run(config, tmp_path / "run")
    words = (tmp_path / "run", *VIDEOS, *QUICK)
    assert call(*words, "--config.data.names=emoji_clips,emoji_clips:time") == 0
    found = read(tmp_path / "run/evaluations")
    assert found["emoji_clips"]["ranks"]["emoji_clips"] == trained["ranks"]["test"]
    summary = results.summarize(tmp_path)
    assert [table.protocol for table in summary.retrieval_tables] == ["retrieval", "evaluation"]
    assert not summary.tables and not summary.remarks
    assert list(summary.retrieval_tables[1].tests) == ["emoji_clips", "emoji_clips:time"]
    printed = capsys.readouterr().out
    assert "evaluation, trained on emoji_clips by retrieval" in printed
    results.write(tmp_path, tmp_path / "tables")
    assert call(*words, "--config.data.names=emoji_scenes") == 2
    assert "vop is a video method, and emoji_scenes holds images" in capsys.readouterr().err


@pytest.mark.slow
def test_a_model_is_evaluated_on_as_many_frames_and_passes_as_in_its_run(finished, tmp_path):
    config = on_videos(finished.clip, "prompt_switch", "retrieval", prompts=2)
    config.data.test_frames, config.data.test_passes, config.data.frame_rule = 4, 2, "random"
    trained = experiment.run(config, tmp_path / "run")
    words = (tmp_path / "run", *VIDEOS, *QUICK, "--config.data.names=emoji_clips")
    assert call(*words) == 0
    [found] = read(tmp_path / "run/evaluations").values()
    assert found["ranks"]["emoji_clips"] == trained["ranks"]["test"]
    assert (found["seen"]["data.frames"], found["seen"]["data.test_passes"]) == (4, 2)


@pytest.mark.slow
def test_videos_with_classes_are_read_as_in_the_run(finished, tmp_path):
    config = on_videos(finished.clip, "vop", "few_shot", text_prompts=1, vision_prompts=2)
    config.data.shots, config.data.views, config.data.frame_stats = 1, 2, "imagenet"
    config.data.frame_rule = "segment"
    trained = experiment.run(config, tmp_path / "run")
    words = (tmp_path / "run", *VIDEOS, *QUICK, "--config.data.names=emoji_clips")
    assert call(*words) == 0
    [found] = read(tmp_path / "run/evaluations").values()
    assert found["accuracy"]["emoji_clips"] == trained["accuracy"]["test"]
    assert found["zero_shot"]["emoji_clips"] == trained["zero_shot"]["test"]
    assert found["seen"]["data.views"] == 2 and found["seen"]["data.frame_rule"] == "even"
    assert call(*words, "--config.data.views=0") == 0
    assert len(list((tmp_path / "run/evaluations").iterdir())) == 2


@pytest.mark.slow
def test_the_command_prints_what_it_did(copied):
    words = ("-m", "experiments.evaluate", str(copied / "coop-1"), *SCENES, *QUICK)
    process = tiny.command(*words, "--config.data.names=emoji_scenes:new")
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert "written: " in out and "coop" in out

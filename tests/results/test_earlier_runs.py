"""Runs of earlier versions can be resumed, opened and tabulated.

fixtures/runs has a run that was stopped at step 3 of 6, and the same run finished. They were written
with earlier names of fields for images and videos, and with the oldest supported orbax.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import result_trees
import tiny

import prompt_jax as pj
from experiments import evaluate, results
from experiments.cli.command_line import explain
from experiments.configs import default
from experiments.configs.video import retrieval
from experiments.report import __main__ as report
from experiments.run import experiment
from prompt_jax.errors import PromptError
from prompt_jax.models import saved
from prompt_jax.training.checkpoint import Checkpoints

RUNS = Path(__file__).parents[1] / "fixtures" / "runs"


def config():
    return tiny.small_config("coop", "embedded", context_length=2)


@pytest.fixture
def stopped(tmp_path):
    """Returns a copy of the stopped run."""
    return Path(shutil.copytree(RUNS / "stopped", tmp_path / "stopped"))


@pytest.mark.slow
def test_a_stopped_run_resumes_to_the_same_prompts(stopped, capsys):
    found = experiment.run(config(), stopped)
    assert f"from step 3 of 6 in {stopped}" in capsys.readouterr().out
    expected = json.loads((RUNS / "finished/results.json").read_text())
    for key in ("base", "new", "h", "zero_shot", "data_hash", "classes"):
        assert found[key] == expected[key], key
    now, then = found["config"], expected["config"]  # fields have been added since
    assert now["data"].items() >= then["data"].items()
    assert now.items() >= (then | {"data": now["data"]}).items()
    # Six digits, because another processor may add in another order.
    prompts = tiny.prompts_of(RUNS / "finished")
    for name, array in tiny.prompts_of(stopped).items():
        np.testing.assert_allclose(array, prompts[name], rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.slow
def test_a_finished_run_is_not_repeated(tmp_path, capsys):
    folder = Path(shutil.copytree(RUNS / "finished", tmp_path / "run"))
    found = experiment.run(config(), folder)
    assert found == json.loads((RUNS / "finished/results.json").read_text())
    assert "already finished" in capsys.readouterr().out


def test_a_model_opens(tmp_path):
    model = pj.load(RUNS / "finished")
    assert model.class_names == ("airplane", "coral")
    model.save(tmp_path / "again")
    assert pj.load(tmp_path / "again").class_names == model.class_names


def test_results_are_tabulated(tmp_path):
    shutil.copytree(RUNS / "finished", tmp_path / "run")
    results.write(tmp_path)
    lines = result_trees.read_csv(tmp_path / "tables/base_to_novel.csv")
    found = {(line["method"], line["dataset"], line["metric"]): line for line in lines}
    assert float(found["coop", "emoji_scenes", "h"]["mean"]) == 100.0


def test_a_damaged_checkpoint_is_rejected_with_the_last_intact_one(stopped):
    damaged = stopped / "checkpoints/3/state/manifest.ocdbt"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    checkpoints = Checkpoints(stopped / "checkpoints")
    with pytest.raises(PromptError, match=r"checkpoints/3 cannot be read: .* from step 2, whose"):
        checkpoints.restore(3, {})
    checkpoints.close()


def on_actions():
    """Returns the config of fixtures/runs/actions."""
    c = default.get_config("vilt_clip", kind="videos")
    c.backbone, c.protocol, c.data.name = "embedded", "few_shot", "emoji_clips"
    c.data.frames, c.data.num_threads = 2, 0
    c.data.frame_rule, c.data.frame_stats = "segment", "imagenet"
    c.data.train_per_class, c.data.test_per_class, c.data.num_objects = 1, 1, 0
    c.data.shots = 1
    c.settings.prompts, c.settings.depth = 2, 2
    c.batch_size, c.eval_batch_size, c.epochs, c.log_every = 11, 33, 1, 1
    return c


def on_captions():
    """Returns the config of fixtures/runs/retrieval."""
    c = retrieval.get_config("vop")
    c.backbone, c.data.also_test = "embedded", "emoji_clips:time"
    c.data.frames, c.data.num_threads = 2, 0
    c.data.train_per_class = c.data.test_per_class = 1
    c.batch_size = c.eval_batch_size = 11
    c.epochs, c.log_every = 1, 1
    return c


CONFIGS = {"finished": config, "actions": on_actions, "retrieval": on_captions}


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_a_finished_run_is_reported(name, tmp_path, capsys):
    folder = Path(shutil.copytree(RUNS / name, tmp_path / "run"))
    assert experiment.run(CONFIGS[name](), folder) == json.loads(
        (RUNS / name / "results.json").read_text()
    )
    assert "already finished" in capsys.readouterr().out
    assert explain(report.start, [str(folder)]) == 0
    assert "note:" not in capsys.readouterr().err
    page = (folder / "report.html").read_text()
    assert (
        "Not shown" not in page and "Damaged files" not in page and "without its images" not in page
    )


@pytest.mark.slow
def test_a_model_of_actions_is_evaluated(tmp_path):
    folder = Path(shutil.copytree(RUNS / "actions", tmp_path / "run"))
    reached = json.loads((folder / "results.json").read_text())["accuracy"]["test"]
    words = ["--config.data.names=emoji_clips", "--config.data.test_per_class=1"]
    words += ["--config.data.num_objects=0", "--config.data.num_threads=0"]
    assert explain(evaluate.start, [str(folder), *words]) == 0
    [path] = (set(folder.parent.rglob("results.json")) | set(folder.rglob("results.json"))) - {
        folder / "results.json"
    }
    found = json.loads(path.read_text())
    assert found["accuracy"] == {"emoji_clips": reached}


def test_models_of_videos_open():
    assert len(pj.load(RUNS / "actions").class_names) == 33
    found = [saved.read(RUNS / name) for name in ("actions", "retrieval")]
    assert [(one.method, one.kind, one.task) for one in found] == [
        ("vilt_clip", "videos", "classes"),
        ("vop", "videos", "captions"),
    ]


def test_results_of_videos_are_tabulated(tmp_path):
    for name in ("actions", "retrieval"):
        shutil.copytree(RUNS / name, tmp_path / name)
    assert not results.summarize(tmp_path).remarks
    results.write(tmp_path)
    found = {}
    for protocol in ("few_shot", "retrieval"):
        for line in result_trees.read_csv(tmp_path / f"tables/{protocol}.csv"):
            found[line["method"], line["dataset"], line["metric"]] = line["mean"]
    actions, retrieval = (
        json.loads((RUNS / name / "results.json").read_text()) for name in ("actions", "retrieval")
    )
    name = actions["dataset"]
    assert found["vilt_clip", name, "accuracy"] == f"{actions['accuracy']['test']:.4f}"
    assert found["vilt_clip", name, "top-5"] == f"{actions['top5']['test']:.4f}"
    for key, dataset in (("test", name), ("emoji_clips:time", "emoji_clips:time")):
        for metric, value in retrieval["ranks"][key]["v2t"].items():
            assert found["vop", dataset, f"v2t {metric}"] == f"{value:.4f}"
    counts = result_trees.read_csv(tmp_path / "tables/few_shot-classes.csv")
    assert len(counts) == 33 and {line["examples"] for line in counts} == {"1"}

"""Runs of earlier versions resume, open and are tabulated.

fixtures/runs holds a run that was stopped at step 3 of 6 and the same run finished, written before
images and videos had their present names in files, with the oldest orbax that is supported.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import result_trees
import tiny

import prompt_jax as pj
from experiments import results
from experiments.run import experiment
from prompt_jax.errors import PromptError
from prompt_jax.training.checkpoint import Checkpoints

RUNS = Path(__file__).parent / "fixtures" / "runs"


def config():
    return tiny.small_config("coop", "embedded", context_length=2)


@pytest.fixture
def stopped(tmp_path):
    """A copy of the stopped run."""
    return Path(shutil.copytree(RUNS / "stopped", tmp_path / "stopped"))


@pytest.mark.slow
def test_a_stopped_run_resumes_to_the_same_prompts(stopped, capsys):
    found = experiment.run(config(), stopped)
    assert f"from step 3 of 6 in {stopped}" in capsys.readouterr().out
    expected = json.loads((RUNS / "finished/results.json").read_text())
    for key in ("base", "new", "h", "zero_shot", "config", "data_hash", "classes"):
        assert found[key] == expected[key], key
    # Six digits: another processor may add in another order.
    prompts = tiny.prompts_of(RUNS / "finished")
    for name, array in tiny.prompts_of(stopped).items():
        np.testing.assert_allclose(array, prompts[name], rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.slow
def test_a_finished_run_is_not_run_again(tmp_path, capsys):
    folder = Path(shutil.copytree(RUNS / "finished", tmp_path / "run"))
    found = experiment.run(config(), folder)
    assert found == json.loads((RUNS / "finished/results.json").read_text())
    assert "finished before" in capsys.readouterr().out


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


def test_a_damaged_checkpoint_is_rejected_with_the_older_whole_one(stopped):
    damaged = stopped / "checkpoints/3/state/manifest.ocdbt"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    checkpoints = Checkpoints(stopped / "checkpoints")
    with pytest.raises(PromptError, match=r"checkpoints/3 cannot be read: .* from step 2, whose"):
        checkpoints.restore(3, {})
    checkpoints.close()

"""Training that starts from another run's prompts."""

import json
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import tiny

from experiments.record import runs
from experiments.run import experiment, reopening, sweep
from prompt_jax.errors import PromptError
from prompt_jax.models import saved

STILL = 1e-12
"""A learning rate that moves nothing."""


class FirstRun(NamedTuple):
    """The files that the runs read, and a finished run of CoOp with its results."""

    clip: Path
    root: Path
    run: Path
    results: dict


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """Returns files and a run that tests must not change."""
    folder = tmp_path_factory.mktemp("there")
    clip, root = tiny.save_clip(folder / "clip"), tiny.save_caltech101(folder / "data")
    results = experiment.run(coop(clip, root), folder / "run")
    return FirstRun(clip, root, folder / "run", results)


def coop(clip, root, **settings):
    """Returns a config that changes its prompts."""
    c = tiny.small_config("coop", clip, root, **{"context_length": 2} | settings)
    c.protocol, c.learning_rate, c.schedule = "few_shot", 0.5, "constant"
    return c


def continued(first, method="coop", rate=STILL, **settings):
    """Returns a config that starts from the prompts of that run."""
    c = coop(first.clip, first.root, **settings)
    if method != "coop":
        c = tiny.small_config(method, first.clip, first.root)
    c.learning_rate, c.init_from, c.momentum = rate, str(first.run), 0.0
    return c


def test_training_starts_from_the_other_run_s_prompts(first, tmp_path):
    results = experiment.run(continued(first), tmp_path / "run")
    before, after = saved.read(first.run), saved.read(tmp_path / "run")
    np.testing.assert_allclose(after.prompts["context"], before.prompts["context"], atol=1e-8)
    assert results["accuracy"] == first.results["accuracy"]
    digest = json.loads((first.run / saved.MODEL).read_text())["prompts"]["sha256"]
    assert results["init_from"] == {"folder": str(first.run), "prompts": digest}
    assert after.trained["init_from"] == digest
    assert "init_from" not in before.trained and "init_from" not in first.results
    [one] = runs.read(tmp_path)[0]
    assert one.config["init_from"] == digest[:8]


def test_training_continues_from_them(first, tmp_path):
    experiment.run(continued(first, rate=0.5), tmp_path / "run")
    before, after = (saved.read(one).prompts["context"] for one in (first.run, tmp_path / "run"))
    moved = np.abs(after - before).max()
    anew = coop(first.clip, first.root)
    anew.momentum = 0.0
    experiment.run(anew, tmp_path / "anew")
    assert moved > 1e-3
    assert np.abs(after - saved.read(tmp_path / "anew").prompts["context"]).max() > 1e-3


def test_a_run_is_identified_by_its_initial_prompts_not_their_path(first, tmp_path, capsys):
    config = continued(first)
    experiment.run(config, tmp_path / "run")
    shutil.copytree(first.run, tmp_path / "moved")
    config.init_from = str(tmp_path / "moved")
    experiment.run(config, tmp_path / "run")
    assert "already finished" in capsys.readouterr().out
    model = saved.read(first.run)
    model.prompts["context"][0] += 1
    saved.write(tmp_path / "moved", model)
    with pytest.raises(PromptError, match="holds another run .*init_from"):
        experiment.run(config, tmp_path / "run")
    config.init_from = ""
    with pytest.raises(PromptError, match="holds another run .*init_from"):
        experiment.run(config, tmp_path / "run")


def test_a_run_is_reopened_without_its_initial_prompts(first, tmp_path):
    shutil.copytree(first.run, tmp_path / "first")
    config = continued(first)
    config.init_from = str(tmp_path / "first")
    experiment.run(config, tmp_path / "run")
    shutil.rmtree(tmp_path / "first")
    prompts = reopening.trained(reopening.reopen(tmp_path / "run"))
    np.testing.assert_array_equal(
        prompts["context"], saved.read(tmp_path / "run").prompts["context"]
    )


def test_more_epochs_of_a_finished_run_are_a_new_run(first):
    config = coop(first.clip, first.root)
    config.epochs += 1
    advice = rf"that one is finished; .* use --config.init_from={first.run} and another --workdir"
    with pytest.raises(PromptError, match=advice):
        experiment.run(config, first.run)
    config.seed = 2
    with pytest.raises(PromptError, match="use another --workdir, or delete"):
        experiment.run(config, first.run)
    config = continued(first)
    with pytest.raises(PromptError, match="holds another run .*init_from"):
        experiment.run(config, first.run)


@pytest.mark.slow
@pytest.mark.parametrize("parallel", [False, True])
def test_all_runs_of_a_sweep_start_from_the_same_prompts(first, parallel, tmp_path):
    config = continued(first)
    config.seeds, config.parallel_seeds = (1, 2), parallel
    results = sweep.run(config, tmp_path)
    assert len(results) == 2
    start = saved.read(first.run).prompts["context"]
    for path in tmp_path.rglob("results.json"):
        end = saved.read(path.parent).prompts["context"]
        np.testing.assert_allclose(end, start, atol=1e-8)


def of_other_classes(first, folder):
    """Returns the directory of a class-specific run on four other classes."""
    config = tiny.small_config("coop", first.clip, context_length=2, class_specific=True)
    config.protocol, config.epochs, config.data.shots = "few_shot", 1, 1
    experiment.run(config, folder)
    return folder


@pytest.mark.parametrize(
    ("method", "settings", "words"),
    [
        ("maple", {}, r"holds prompts of coop, but config.method=maple; start from a run of"),
        ("gda", {}, r"gda is computed from its training images and cannot start from prompts"),
        ("tip_adapter_f", {}, r"tip_adapter_f is computed from its training images"),
        (
            "coop",
            {"context_length": 3},
            r"other shapes: context is float32\[2, 32\] there, float32\[3, 32\] here "
            r"\(settings.context_length: 2 there, 3 here\)",
        ),
        (
            "coop",
            {"class_specific": True},
            r"context is float32\[2, 32\] there, float32\[4, 2, 32\] here "
            r"\(settings.class_specific: False there, True here\)",
        ),
    ],
)
def test_mismatched_prompts_are_rejected(first, method, settings, words, tmp_path):
    config = continued(first, method, **settings)
    if method in ("gda", "tip_adapter_f"):
        config.cached_views = 1
    with pytest.raises(PromptError, match=f"config.init_from=.*{words}"):
        experiment.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_missing_initial_prompts_are_rejected(first, tmp_path):
    config = continued(first)
    for folder, words in {
        tmp_path / "none": "is not a directory; pass a run directory",
        first.clip: "holds no model.json",
    }.items():
        config.init_from = str(folder)
        with pytest.raises(PromptError, match=f"config.init_from: .*{words}"):
            experiment.run(config, tmp_path / "run")


def test_zero_shot_has_no_initial_prompts(first, tmp_path):
    zero_shot = tiny.small_config("zero_shot", first.clip, first.root)
    experiment.run(zero_shot, tmp_path / "first")
    zero_shot.init_from = str(tmp_path / "first")
    with pytest.raises(PromptError, match="zero_shot has no prompts; omit it"):
        experiment.run(zero_shot, tmp_path / "run")


def test_prompts_of_another_backbone_are_rejected(first, tmp_path):
    other = tiny.save_clip(tmp_path / "clip", "text/block_0/fc/bias")
    config = continued(first)
    config.backbone = str(other)
    with pytest.raises(PromptError, match=r"was trained on another backbone, .*clip \(\w{8}\)"):
        experiment.run(config, tmp_path / "run")


@pytest.mark.slow
def test_class_specific_contexts_start_from_those_of_the_same_classes(first, tmp_path):
    config = continued(first, class_specific=True)
    config.init_from = str(of_other_classes(first, tmp_path / "other"))
    with pytest.raises(
        PromptError, match=r"of the 4 classes .*, but 'sea horse' is not one of them"
    ):
        experiment.run(config, tmp_path / "run")
    same = continued(first, class_specific=True)
    same.init_from = ""
    experiment.run(same, tmp_path / "same")
    config.init_from = str(tmp_path / "same")
    experiment.run(config, tmp_path / "run")
    contexts = [saved.read(tmp_path / name).prompts["context"] for name in ("same", "run")]
    np.testing.assert_allclose(*contexts, atol=1e-8)

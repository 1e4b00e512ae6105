"""Parallel runs of several seeds and learning rates equal separate runs."""

import json

import jax
import numpy as np
import pytest
import tiny

from experiments.run import parallel, sweep
from prompt_jax.errors import PromptError
from prompt_jax.training import train

pytestmark = pytest.mark.slow
TIMES = ("seconds", "per_second", "wait_share")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Returns the directory of the tiny CLIP."""
    return tiny.save_clip(tmp_path_factory.mktemp("clip"))


def config_of(clip, method, **settings):
    config = tiny.small_config(method, clip, **settings)
    config.seeds = (1, 2)
    return config


def numbers(results):
    """Returns what must be equal, by variant and seed."""
    kept = {}
    for one in results:
        key = one["variant"], one["seed"]
        kept[key] = one["accuracy"], one["per_iteration"], one["pictures"], one["dataset"]
    return kept


SMALL = {"iterations": 1, "vision_prompts": 2, "vision_depth": 1}


@pytest.mark.parametrize(
    ("method", "settings", "rates"),
    [("pro_mpt", SMALL, ()), ("coop", {}, (0.002, 0.004)), ("gopro", {"contrast_weight": 0.0}, ())],
)
def test_parallel_runs_equal_separate_ones(clip, tmp_path, method, settings, rates):
    config = config_of(clip, method, **settings)
    config.learning_rates = rates
    apart = sweep.run(config, tmp_path / "apart")
    config.parallel_seeds = True
    together = sweep.run(config, tmp_path / "together")
    assert numbers(apart) == numbers(together)
    assert {one["trained_together"] for one in apart} == {1}
    assert {one["trained_together"] for one in together} == {len(together)}
    runs = sorted(path.parent for path in (tmp_path / "apart").rglob("results.json"))
    assert len(runs) == 2 * max(len(rates), 1)
    ends = []
    for run in runs:
        twin = tmp_path / "together" / run.relative_to(tmp_path / "apart")
        mine, its = tiny.prompts_of(run), tiny.prompts_of(twin)
        assert mine.keys() == its.keys()
        for name in mine:
            near = 1e-5 if "prompts" in name else 1e-4  # momentum sums gradients of size 1
            np.testing.assert_allclose(mine[name], its[name], rtol=0, atol=near, err_msg=name)
        lines = [(folder / "metrics.jsonl").read_text().splitlines() for folder in (run, twin)]
        for one, other in zip(*lines, strict=True):
            assert json.loads(one)["loss"] == pytest.approx(json.loads(other)["loss"], abs=1e-4)
        ends.append(next(v for k, v in mine.items() if "prompts" in k and "context" in k))
    gaps = [np.abs(a - b).max() for i, a in enumerate(ends) for b in ends[:i]]
    assert min(gaps) > 1e-4  # every seed and every rate gives another result
    assert not list((tmp_path / "together").rglob("together-*"))


def test_parallel_runs_that_are_stopped_together_resume_together(clip, tmp_path, monkeypatch):
    config = config_of(clip, "coop")
    config.parallel_seeds = True
    whole = sweep.run(config, tmp_path / "whole")

    class Interrupted(parallel.Logs):
        def write(self, step, metrics):
            if step == 3:
                raise KeyboardInterrupt
            return super().write(step, metrics)

    with monkeypatch.context() as patch:
        patch.setattr(parallel, "Logs", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            sweep.run(config, tmp_path / "stopped")
    steps = []
    make = train.make_parallel_step

    def counting(*args):
        step = make(*args)
        return lambda *rest: (steps.append(1), step(*rest))[1]

    monkeypatch.setattr(train, "make_parallel_step", counting)
    again = sweep.run(config, tmp_path / "stopped")
    assert len(steps) == 4  # of six: the checkpoint is of the second
    assert numbers(again) == numbers(whole)
    for run in (tmp_path / "whole").rglob("results.json"):
        twin = tmp_path / "stopped" / run.parent.relative_to(tmp_path / "whole")
        mine, its = tiny.prompts_of(run.parent), tiny.prompts_of(twin)
        jax.tree.map(np.testing.assert_array_equal, mine, its)


def test_finished_runs_are_excluded(clip, tmp_path, capsys):
    config = config_of(clip, "coop")
    config.seeds = (1,)
    sweep.run(config, tmp_path)
    config.seeds, config.parallel_seeds = (1, 2, 3), True
    found = sweep.run(config, tmp_path)
    assert "already finished" in capsys.readouterr().out
    assert [one["trained_together"] for one in found] == [1, 2, 2]


def test_a_diverged_run_does_not_stop_the_others(clip, tmp_path):
    config = config_of(clip, "coop")
    config.seeds, config.learning_rates = (1,), (0.002, 1e30)
    apart = sweep_that_fails(config, tmp_path / "apart")
    config.parallel_seeds = True
    together = sweep_that_fails(config, tmp_path / "together")
    for folder in (apart, together):
        (finished,) = folder.rglob("results.json")
        assert "rate=0.002" in str(finished)
    sweep_that_fails(config, together)  # separately now, and again
    assert len(list(together.rglob("results.json"))) == 1


def sweep_that_fails(config, folder):
    with pytest.raises(PromptError, match=r"rate=1e[+]30.*lower config.learning_rate=1e[+]30"):
        sweep.run(config, folder)
    return folder


def test_parallel_runs_resume_with_other_logging_fields_and_release_their_locks(clip, tmp_path):
    config = config_of(clip, "coop")
    config.parallel_seeds, config.learning_rate, config.checkpoint_every = True, 1e30, 2
    with pytest.raises(PromptError, match="training diverged at step"):
        sweep.run(config, tmp_path)
    assert list(tmp_path.rglob("together-1-2")) and not list(tmp_path.rglob("lock"))
    config.log_every = 7
    with pytest.raises(PromptError, match="training diverged at step"):
        sweep.run(config, tmp_path)
    config.learning_rate = 0.002
    with pytest.raises(PromptError) as error:
        sweep.run(config, tmp_path)
    assert "holds another run (learning_rate: [0.002, 0.002] here, [1e+30, 1e+30] there)" in str(
        error.value
    )
    assert len(str(error.value)) < 1500

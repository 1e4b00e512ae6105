"""The code of docs/own_method.md, run as it stands there."""

import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import tiny

from experiments.run import experiment
from prompt_jax import methods

PAGE = Path(__file__).parents[1] / "docs" / "own_method.md"
FILE, TRY, CONFIG = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def residual():
    """The page's method file as a module."""
    module = types.ModuleType("prompt_jax.methods.residual")
    sys.modules[module.__name__] = module  # where dataclasses looks
    exec(compile(FILE, "residual.py", "exec"), module.__dict__)
    yield module
    del sys.modules[module.__name__]


@pytest.mark.slow
def test_the_page_s_training_learns(residual, capsys):
    names = dict(vars(residual))
    exec(compile(TRY, "try.py", "exec"), names)
    assert re.fullmatch(r"loss \d+\.\d+, accuracy \d+\.\d %\n", capsys.readouterr().out)
    assert np.abs(np.asarray(names["state"].prompts["residual"])).max() > 0


def test_the_page_s_config_runs_in_the_protocols(residual, tmp_path, monkeypatch):
    monkeypatch.setitem(methods.METHODS, "residual", residual.METHOD)
    names: dict = {}
    exec(compile(CONFIG, "config.py", "exec"), names)
    config = names["get_config"]("few_shot")
    config.update(tiny.small_config("residual", tiny.save_clip(tmp_path / "clip")))
    config.cached_views = 2
    found = experiment.run(config, tmp_path / "run")
    assert (found["method"], found["trainable_parameters"]) == ("residual", 2 * 16)

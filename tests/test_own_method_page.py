"""The code of docs/own_method.md, run as it stands there."""

import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import tiny

from experiments.configs.images import few_shot
from experiments.run import experiment
from prompt_jax import methods

PAGE = Path(__file__).parents[1] / "docs" / "own_method.md"
FILE, TRY, LOAD, CONFIG = re.findall(
    r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL
)


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


def test_the_page_s_method_is_used_from_outside(tmp_path, monkeypatch):
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package/my_method.py").write_text(FILE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    [folder] = re.findall(r'pj.load\("(.*)"\)', LOAD)
    config = few_shot.get_config("my_package.my_method:METHOD")
    small = tiny.small_config("zero_shot", tiny.save_clip(tmp_path / "clip")).to_dict()
    config.update({name: small[name] for name in small if name not in ("method", "settings")})
    config.data.names, config.seeds, config.data.shots_list = "", (), ()
    config.protocol, config.cached_views = "few_shot", 2
    try:
        experiment.run(config, Path(folder))
        names: dict = {}
        exec(compile(LOAD, "load.py", "exec"), names)
        assert names["model"].settings.scale == 0.5
        assert np.abs(np.asarray(names["model"].prompts["residual"])).max() > 0
    finally:
        for name in ("my_package", "my_package.my_method"):
            sys.modules.pop(name, None)

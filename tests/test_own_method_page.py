"""The code of docs/own_method.md runs as printed."""

import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import tiny

import prompt_jax as pj
from experiments.configs.images import few_shot
from experiments.run import experiment
from prompt_jax import methods
from prompt_jax.clip import tokenizer

PAGE = Path(__file__).parents[1] / "docs" / "own_method.md"
FILE, TRY, VIEWS, TEXT, LOAD, RECORD = re.findall(
    r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL
)


@pytest.fixture
def residual():
    """Returns the page's method file as a module."""
    module = types.ModuleType("prompt_jax.methods.residual")
    sys.modules[module.__name__] = module  # where dataclasses looks it up
    exec(compile(FILE, "residual.py", "exec"), module.__dict__)
    yield module
    del sys.modules[module.__name__]


@pytest.mark.slow
def test_the_page_s_training_learns(residual, capsys):
    names = dict(vars(residual))
    exec(compile(TRY, "try.py", "exec"), names)
    assert re.fullmatch(r"loss \d+\.\d+, accuracy \d+\.\d %\n", capsys.readouterr().out)
    assert np.abs(np.asarray(names["state"].prompts["residual"])).max() > 0


@pytest.mark.parametrize("cached_views", [0, 2])
def test_the_page_s_views_are_drawn_and_compared(residual, tmp_path, monkeypatch, cached_views):
    exec(compile(VIEWS, "residual.py", "exec"), residual.__dict__)
    monkeypatch.setitem(methods.METHODS, "residual", residual.VIEWED)
    exec(compile(RECORD.replace("METHOD", "VIEWED"), "residual.py", "exec"), residual.__dict__)
    monkeypatch.setitem(methods.RECORDS["images"], "residual", residual.RECORD)
    config = few_shot.get_config("residual")
    config.data.names, config.seeds, config.data.shots_list = "", (), ()
    config.update(tiny.small_config("residual", tiny.save_clip(tmp_path / "clip")))
    config.cached_views = cached_views
    seen = []
    forward = residual.VIEWED.forward

    def spying(prompts, prepared, task, features):
        output = forward(prompts, prepared, task, features)
        seen.append((len(methods.split_views(features)), set(output.losses)))
        return output

    viewed = residual.VIEWED._replace(forward=spying)
    monkeypatch.setitem(methods.METHODS, "residual", viewed)
    experiment.run(config, tmp_path / "run")
    assert {(2, frozenset({"agreement"})), (1, frozenset())} == {
        (views, frozenset(losses)) for views, losses in seen
    }


def test_the_page_s_record_runs_in_the_protocols(residual, tmp_path, monkeypatch):
    exec(compile(RECORD, "residual.py", "exec"), residual.__dict__)
    monkeypatch.setitem(methods.METHODS, "residual", residual.METHOD)
    monkeypatch.setitem(methods.RECORDS["images"], "residual", residual.RECORD)
    config = few_shot.get_config("residual")
    assert (config.epochs, config.batch_size, config.learning_rate) == (100, 32, 0.002)
    config.data.names, config.seeds, config.data.shots_list = "", (), ()
    config.update(tiny.small_config("residual", tiny.save_clip(tmp_path / "clip")))
    config.cached_views = 2
    found = experiment.run(config, tmp_path / "run")
    assert (found["method"], found["trainable_parameters"]) == ("residual", 2 * 16)


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """Returns a current directory with the page's my_package/my_method.py."""
    (tmp_path / "my_package").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield (tmp_path / "my_package/my_method.py").write_text
    for name in ("my_package", "my_package.my_method"):
        sys.modules.pop(name, None)


def config_of_my_method(folder):
    """Returns the config of a small run of it."""
    config = few_shot.get_config("my_package.my_method:METHOD")
    small = tiny.small_config("zero_shot", tiny.save_clip(folder / "clip")).to_dict()
    config.update({name: small[name] for name in small if name not in ("method", "settings")})
    config.data.names, config.seeds, config.data.shots_list = "", (), ()
    config.protocol, config.cached_views = "few_shot", 2
    return config


def test_the_page_s_method_is_used_from_another_package(outside, tmp_path):
    outside(FILE)
    [folder] = re.findall(r'pj.load\("(.*)"\)', LOAD)
    experiment.run(config_of_my_method(tmp_path), Path(folder))
    names: dict = {}
    exec(compile(LOAD, "load.py", "exec"), names)
    assert names["model"].settings.scale == 0.5
    assert np.abs(np.asarray(names["model"].prompts["residual"])).max() > 0


def test_the_page_s_parts_stay_fixed_or_have_their_own_rates(outside, tmp_path):
    outside(TEXT)
    config = config_of_my_method(tmp_path)
    config.optimizer, config.schedule, config.epochs = "adamw", "constant", 1
    config.data.shots, config.batch_size, config.data.num_classes = 1, 2, 4
    config.weight_decay, config.adam_epsilon = 0.0, 1e-30
    moved = {}
    for rate in (0.1, 0.5, 0.0):
        config.settings.gain_rate = rate
        experiment.run(config, tmp_path / f"run{rate}")
        moved[rate] = pj.load(tmp_path / f"run{rate}").prompts
    gains = {rate: np.abs(np.asarray(moved[rate]["gain"]) - 1).max() for rate in moved}
    assert gains[0.0] == 0 < gains[0.1] < gains[0.5]
    words = [np.asarray(prompts["words"]) for prompts in moved.values()]
    np.testing.assert_array_equal(words[0], words[1])
    start = pj.load(tmp_path / "clip")
    tokens = np.asarray(tokenizer.encode("a photo of a"))
    np.testing.assert_array_equal(words[0], start.clip.embed_text(start.frozen, tokens))
    assert np.abs(np.asarray(moved[0.1]["context"])).max() > 0

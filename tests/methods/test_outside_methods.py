"""A method of another package is named on the command line, trained, tested and loaded."""

import re
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny

import prompt_jax as pj
from experiments import evaluate
from experiments.cli import command_line
from experiments.run import evaluation_plans, reopening
from prompt_jax import methods
from prompt_jax.clip import CLIP
from prompt_jax.errors import PromptError
from prompt_jax.methods import outside
from prompt_jax.models import saved

MODULE = """
from prompt_jax import methods
from prompt_jax.clip import CLIP

METHOD = methods.METHODS["coop"]
ENCODERS = methods.ENCODERS["vop"]
NUMBER = 3
"""
NAME = "a_package.a_method:METHOD"


def forget():
    for name in [name for name in sys.modules if name.startswith("a_package")]:
        del sys.modules[name]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Returns a package in a directory of PYTHONPATH, which is unloaded before and after."""
    folder = tmp_path / "elsewhere" / "a_package"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "a_method.py").write_text(MODULE)
    monkeypatch.syspath_prepend(folder.parent)
    forget()
    yield folder
    forget()


@pytest.fixture
def run(package, tmp_path, monkeypatch):
    """Returns the directory of a finished run of the method, named on the command line."""
    words = [f"--config=experiments/configs/images/few_shot.py:{NAME}"]
    words += ["--config.data.names=emoji_scenes", "--config.seeds=1", "--config.data.shots_list=2"]
    words += ["--config.data.num_classes=4", "--config.data.test_per_class=3", "--config.epochs=1"]
    words += [f"--config.backbone={tiny.save_clip(tmp_path / 'clip')}", "--config.batch_size=2"]
    words += ["--config.data.num_threads=0", f"--workdir={tmp_path / 'runs'}"]
    words += ["--config.settings.context_length=2"]
    assert not tiny.run_main(words, monkeypatch)
    folder = tmp_path / "runs/emoji_scenes/a_package.a_method_METHOD/few_shot-2shots-seed1"
    assert (folder / "results.json").is_file()
    return folder


def test_a_run_is_used_if_its_module_is_imported(run):
    image = np.zeros((16, 16, 3), np.uint8)
    before = pj.load(run).predict(image)
    forget()
    for use in (pj.load, reopening.reopen):
        with pytest.raises(PromptError, match="if you trust it, import a_package.a_method first"):
            use(run)
    with pytest.raises(PromptError, match="model.json: method .*PROMPT_JAX_METHODS=a_package.a_"):
        evaluate.evaluate([run], ["emoji_scenes"], {})
    assert not any(name.startswith("a_package") for name in sys.modules)  # no code was run

    outside.load(NAME)
    found = pj.load(run)
    assert found.method is methods.METHODS["coop"] and found.settings.context_length == 2
    np.testing.assert_array_equal(
        found.predict(image).probabilities, before.probabilities, strict=True
    )
    model = evaluation_plans.Model(run, saved.read(run))
    assert evaluation_plans.build_config(model, "emoji_scenes", {}).method == NAME


def test_modules_that_files_may_name_are_allowed_by_the_environment(package, monkeypatch):
    with pytest.raises(PromptError, match="is not part of this package"):
        methods.get(NAME)
    monkeypatch.setenv(outside.ALLOWED, "other,a_package.a_method")
    assert methods.get(NAME) is methods.METHODS["coop"]
    assert methods.get_encoders("a_package.a_method:ENCODERS") is methods.ENCODERS["vop"]


@pytest.mark.parametrize("file", ["retrieval", "few_shot"])
def test_encoders_have_the_settings_of_vop(package, file, monkeypatch, capsys):
    words = [f"--config=experiments/configs/video/{file}.py:a_package.a_method:ENCODERS"]
    assert not tiny.run_main([*words, "--help"], monkeypatch)
    mine = capsys.readouterr().out
    assert not tiny.run_main(
        [f"--config=experiments/configs/video/{file}.py:vop", "--help"], monkeypatch
    )
    assert mine == capsys.readouterr().out.replace(
        "--config.method=vop", "--config.method=a_package.a_method:ENCODERS"
    )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("images/few_shot.py:a_package.a_metod:METHOD", "there is no module 'a_package.a_metod'"),
        ("images/few_shot.py:nowhere.a:METHOD", "there is no module 'nowhere' in the current"),
        (
            "images/few_shot.py:a_package.a_method:METHD",
            "unknown method of a_package.a_method: 'METHD'. Did you mean 'METHOD'",
        ),
        ("images/few_shot.py:a_package.a_method:NUMBER", "NUMBER is of type int; it must be a"),
        ("images/few_shot.py:a_package.a_method:ENCODERS", "works on videos and texts, not on"),
        (
            "images/few_shot.py:a_package.broken:METHOD",
            "a_package.broken cannot be imported (ModuleNotFoundError: No module named 'absent_x')",
        ),
        (
            "images/few_shot.py:a_package.wrong:METHOD",
            "a_package.wrong cannot be imported (ZeroDivisionError: division by zero)",
        ),
        ("images/few_shot.py:a_package.ends:METHOD", "ends cannot be imported (SystemExit: 0)"),
        ("images/few_shot.py::METHOD", "'' is not a module name; write my_package.my_module"),
        ("images/few_shot.py:../x:METHOD", "'../x' is not a module name"),
        ("video/retrieval.py:a_package.a_method:METHOD", "classifies images, and cannot encode"),
        (
            f"images/vpt.py --config.method={NAME}",
            f"use --config=experiments/configs/images/few_shot.py:{NAME}",
        ),
    ],
)
def test_user_errors_are_one_line(package, monkeypatch, capsys, tmp_path, config, message):
    (package / "broken.py").write_text("import absent_x\n")
    (package / "wrong.py").write_text("METHOD = 1 / 0\n")
    (package / "ends.py").write_text("raise SystemExit(0)\n")
    words = f"--config=experiments/configs/{config} --workdir={tmp_path / 'run'}".split()
    assert tiny.run_main(words, monkeypatch) == command_line.USAGE_ERROR
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and message.lower() in error.lower(), error
    assert not Path(tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda logits: logits[0], "logits float32[2, 4]; for a batch of 2 and 4 classes"),
        (lambda logits: logits[..., :1], "logits float32[1, 2, 1]"),
        (lambda logits: logits[:0], "logits float32[0, 2, 4]"),
        (lambda logits: logits.argmax(-1)[..., None].repeat(4, -1), "logits int32[1, 2, 4]"),
        (lambda logits: logits, None),
    ],
)
def test_logits_of_another_shape_are_rejected_before_training(change, message):
    coop, clip = methods.METHODS["coop"], CLIP(tiny.CONFIG)
    settings = coop.Settings(context_length=2)
    task = methods.make_task(coop, clip, tiny.frozen_parameters(), tiny.CLASSES, settings)

    def forward(prompts, prepared, task, x):
        logits = coop.forward(prompts, prepared, task, x).logits
        return methods.Output(change(logits))

    prompts = coop.init(jax.random.key(0), task)
    images = np.zeros((2, clip.config.image_size, clip.config.image_size, 3), np.float32)
    arguments = NAME, coop._replace(forward=forward), prompts, task, images
    if message is None:
        outside.check_logits(*arguments)
        return
    with pytest.raises(PromptError, match=re.escape(message)):
        outside.check_logits(*arguments)

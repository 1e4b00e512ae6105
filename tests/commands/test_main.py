"""The command line: flags, configs and their values, without running anything."""

import importlib
from pathlib import Path

import jax
import pytest
import tiny

from experiments import configs
from experiments.cli import command_line
from experiments.config.config import read
from experiments.configs import default
from experiments.run import experiment, sweep
from experiments.setup import building
from prompt_jax.errors import PromptError
from prompt_jax.training import compiled

CONFIGS = Path(configs.__file__).parent

PRO_MPT = "--config=experiments/configs/images/pro_mpt.py"


@pytest.fixture
def parsed(monkeypatch):
    """Calls main with these arguments; returns the exit code and the config it would run."""
    ran = []

    def run(config, workdir):
        ran.append((config, workdir))
        raise KeyboardInterrupt

    monkeypatch.setattr(experiment, "run", run)

    def call(*words):
        code = tiny.run_main(list(words), monkeypatch)
        return code, ran

    return call


def test_overrides_reach_the_config_with_their_types(parsed):
    words = ["--config.epochs=3", "--config.learning_rate=0.1", "--config.settings.iterations=1"]
    words += ["--config.settings.feature_filter=False", "--config.data.domain=sketch"]
    code, ((config, workdir),) = parsed(PRO_MPT, *words, "--workdir=there")
    assert code == command_line.INTERRUPTED
    assert (config.epochs, config.learning_rate, str(workdir)) == (3, 0.1, "there")
    assert config.settings["iterations"] == 1 and config.settings["feature_filter"] is False
    assert config.data.domain == "sketch"


def test_the_default_workdir_is_named_after_the_run(parsed):
    _, ((_, workdir),) = parsed(PRO_MPT, "--config.seed=3")
    assert workdir.as_posix() == "results/pro_mpt-emoji_scenes-seed3"


def test_one_call_does_not_affect_the_next(parsed):
    parsed(PRO_MPT, "--config.epochs=3")
    _, ran = parsed("--config=experiments/configs/images/coop.py")
    assert [config.epochs for config, _ in ran] == [3, 200]


def test_a_whole_number_is_accepted_as_a_learning_rate(parsed):
    _, ((config, _),) = parsed(PRO_MPT, "--config.learning_rate=1")
    assert config.learning_rate == 1.0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--config=FILE is needed, e.g. --config=experiments/configs/images/pro_mpt.py"),
        (["--config.epochs=3"], "--config.epochs needs a config; add --config=FILE"),
        (
            ["--config=experiments/configs/images/pro_mtp.py"],
            "Did you mean 'experiments/configs/images/pro_mpt.py",
        ),
        (["--config="], "unknown config file ''"),
        (
            ["--config=experiments/configs/video/vop_f.py"],
            "vop_f is a method: --config=experiments/configs/video/retrieval.py:vop_f\n",
        ),
        (
            ["--config=experiments/configs/video/m2clip.py"],
            "m2clip is a method: --config=experiments/configs/video/few_shot.py:m2clip\n",
        ),
        (
            ["--config=experiments/configs/images/mocoop.py"],
            "mocoop is a method: --config=experiments/configs/images/method.py:mocoop\n",
        ),
        ([PRO_MPT, "--config.epoch=3"], "unknown config key 'epoch'. Did you mean 'epochs'"),
        (
            [PRO_MPT, "--config.data.shot=3"],
            "unknown config key 'data.shot'. Did you mean 'data.shots'",
        ),
        ([PRO_MPT, "--config.settings.iteration=3"], "Did you mean 'settings.iterations'"),
        ([PRO_MPT, "--config.seed.x=3"], "unknown config key 'seed.x'"),
        ([PRO_MPT, "--wokdir=x"], "unknown flag 'wokdir'. Did you mean 'workdir'"),
        (
            [PRO_MPT, "--config.data.root", "--workdir=x"],
            "--config.data.root is followed by --workdir=x instead of a value; write",
        ),
        ([PRO_MPT, "here"], "unexpected argument 'here': options start with --"),
        ([PRO_MPT, "--config.epochs=many"], "config.epochs=many: it must be a whole number"),
        ([PRO_MPT, "--config.epochs=2.5"], "config.epochs=2.5"),
        (
            [PRO_MPT, "--config.learning_rate=fast"],
            "config.learning_rate=fast: it must be a number",
        ),
        (
            [PRO_MPT, "--config.settings.feature_filter=perhaps"],
            "feature_filter=perhaps: it must be True or",
        ),
        ([PRO_MPT, "--config.data=x"], "config.data=x: it must be omitted: it is a group"),
        (
            ["--config=experiments/configs/images/fewshot.py"],
            "Did you mean 'experiments/configs/images/few_shot.py",
        ),
    ],
)
def test_errors_on_the_command_line(parsed, capsys, words, message):
    code, ran = parsed(*words)
    printed = capsys.readouterr()
    assert (code, ran, printed.out) == (command_line.USAGE_ERROR, [], "")
    assert printed.err.startswith("error: ") and printed.err.count("\n") == 1
    assert message in printed.err


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("ablation_iterations.py:coop", "takes no argument; remove :coop"),
        ("few_shot.py:mapel", "unknown method 'mapel'. Did you mean 'maple'"),
        ("few_shot.py:vop", "method 'vop' works on videos and texts, not on single images"),
        ("protocol.py", "is a helper of other configs and cannot run by itself"),
    ],
)
def test_the_argument_after_a_config_s_colon(parsed, capsys, file, message):
    code, ran = parsed(f"--config=experiments/configs/images/{file}")
    assert (code, ran) == (command_line.USAGE_ERROR, [])
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1, error


START = """from experiments.configs import default


def get_config():
    c = default.get_config("coop")
    {}
    return c
"""


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "c.learning_rat = 0.1",
            "unknown config key 'learning_rat'. Did you mean 'learning_rate'?",
        ),
        ("c['learning_rat'] = 0.1", "unknown config key 'learning_rat'. Did you mean"),
        ("c.update({'learning_rat': 0.1})", "unknown config key 'learning_rat'. Did you mean"),
        ("c.epochs = c.epoch", "unknown config key 'epoch'. Did you mean 'epochs'?"),
        ("c.data.shot = 4", "unknown config key 'shot'. Did you mean 'shots'?"),
        ("c.settings.context_lenght = 4", "unknown config key 'context_lenght'. Did you mean"),
        ("c.xyz = 4", "unknown config key 'xyz'. experiments/config/config.py and data.py declare"),
        ("c.batch_size = '4'", "batch_size is 4, of type str; it must be of int"),
        ("default.get_config('cop')", "unknown method 'cop'. Did you mean 'coop'"),
        (
            "default.get_config('coop', context=4)",
            "unknown setting of coop 'context'. Did you mean",
        ),
        ("c.epochs = {}['missing']", "KeyError: 'missing'"),
    ],
)
def test_an_error_in_a_config_file_names_file_and_line(parsed, capsys, tmp_path, line, message):
    (tmp_path / "mine.py").write_text(START.replace("{}", line, 1))
    code, ran = parsed(f"--config={tmp_path / 'mine.py'}")
    error = capsys.readouterr().err
    assert (code, ran, error.count("\n")) == (command_line.USAGE_ERROR, [], 1), error
    assert f"error: {tmp_path / 'mine.py'}, line 6: {message}" in error


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("c.unlock(); c.learning_rat = 0.1", "unknown config key 'learning_rat'. Did you mean"),
        ("c.unlock(); del c.learning_rate", "the config lacks config.learning_rate; start from"),
        (
            "c.data = {'name': 'dtd'}",
            "lacks config.data.also_test, config.data.augment, config.data.class_names and",
        ),
        ("c.batch_size = True", "config.batch_size=True is of type bool; it must be of int"),
        ("c.batch_size = None", "config.batch_size=None is of type NoneType; it must be of int"),
        ("return {'method': 'coop'}", "get_config returns a dict; it must be a ConfigDict"),
        ("return", "get_config returns a NoneType; it must be a ConfigDict"),
    ],
)
def test_a_config_of_another_source_is_checked_against_the_default(
    parsed, capsys, tmp_path, line, message
):
    (tmp_path / "mine.py").write_text(START.replace("{}", line, 1))
    code, ran = parsed(f"--config={tmp_path / 'mine.py'}")
    error = capsys.readouterr().err
    assert (code, ran, error.count("\n")) == (command_line.USAGE_ERROR, [], 1), error
    assert message in error


def test_a_setting_of_the_wrong_type_is_rejected():
    config = default.get_config("coop")
    config.settings = {**config.settings.to_dict(), "context_length": "4"}
    with pytest.raises(PromptError, match="config.settings.context_length='4' is of type str"):
        building.build_method(read(config))


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*/*.py")), ids=lambda path: path.stem)
def test_every_config_has_the_fields_of_the_default(path):
    module = importlib.import_module(f"experiments.configs.{path.parent.name}.{path.stem}")
    if path.stem in ("__init__", "protocol"):
        return
    found = getattr(module, "get_configs", lambda: [module.get_config()])()
    for config in found:
        for one in sweep.expand(config).values():
            building.check(one)
            building.build_method(one)


def test_a_config_with_an_invalid_value_names_the_file(parsed, capsys, tmp_path):
    (tmp_path / "mine.py").write_text("def get_config():\n    return {}['missing']\n")
    (tmp_path / "none.py").write_text("seed = 1\n")
    for name in ("mine", "none"):
        code, _ = parsed(f"--config={tmp_path / name}.py")
        error = capsys.readouterr().err
        assert code == command_line.USAGE_ERROR and error.count("\n") == 1 and f"{name}.py" in error


def test_an_interrupt_gives_no_traceback(parsed, capsys):
    code, _ = parsed(PRO_MPT)
    assert (code, capsys.readouterr().err) == (130, "stopped\n")


def test_a_compilation_cache_set_by_the_user_is_kept(monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "set")
    monkeypatch.setattr(jax.config, "update", None)
    compiled.keep()

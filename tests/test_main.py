"""The command line: flags, configs and their values, without running anything."""

import jax
import pytest
import tiny

from experiments import command_line, compiled, experiment

PRO_MPT = "--config=experiments/configs/pro_mpt.py"


@pytest.fixture
def parsed(monkeypatch):
    """Calls main with these words; returns the exit code and what it would have run."""
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
    assert config.settings.iterations == 1 and config.settings.feature_filter is False
    assert config.data.domain == "sketch"


def test_the_workdir_is_named_after_the_run_by_default(parsed):
    _, ((_, workdir),) = parsed(PRO_MPT, "--config.seed=3")
    assert workdir.as_posix() == "results/pro_mpt-emoji_scenes-seed3"


def test_one_call_leaves_nothing_to_the_next(parsed):
    parsed(PRO_MPT, "--config.epochs=3")
    _, ran = parsed("--config=experiments/configs/coop.py")
    assert [config.epochs for config, _ in ran] == [3, 200]


def test_a_whole_number_is_a_learning_rate_too(parsed):
    _, ((config, _),) = parsed(PRO_MPT, "--config.learning_rate=1")
    assert config.learning_rate == 1.0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--config=FILE is needed, e.g. --config=experiments/configs/pro_mpt.py"),
        (["--config.epochs=3"], "--config.epochs needs a config first: --config=FILE"),
        (
            ["--config=experiments/configs/pro_mtp.py"],
            "Did you mean 'experiments/configs/pro_mpt.py",
        ),
        (["--config="], "unknown config file ''"),
        ([PRO_MPT, "--config.epoch=3"], "unknown config key 'epoch'. Did you mean 'epochs'"),
        (
            [PRO_MPT, "--config.data.shot=3"],
            "unknown config key 'data.shot'. Did you mean 'data.shots'",
        ),
        ([PRO_MPT, "--config.settings.iteration=3"], "Did you mean 'settings.iterations'"),
        ([PRO_MPT, "--config.seed.x=3"], "unknown config key 'seed.x'"),
        ([PRO_MPT, "--wokdir=x"], "unknown flag 'wokdir'. Did you mean 'workdir'"),
        ([PRO_MPT, "here"], "unexpected argument 'here': options start with --"),
        ([PRO_MPT, "--config.epochs=many"], "config.epochs=many"),
        ([PRO_MPT, "--config.epochs=2.5"], "config.epochs=2.5"),
        ([PRO_MPT, "--config.learning_rate=fast"], "config.learning_rate=fast"),
        ([PRO_MPT, "--config.settings.feature_filter=perhaps"], "feature_filter=perhaps"),
    ],
)
def test_mistakes_on_the_command_line(parsed, capsys, words, message):
    code, ran = parsed(*words)
    printed = capsys.readouterr()
    assert (code, ran, printed.out) == (command_line.USAGE_ERROR, [], "")
    assert printed.err.startswith("error: ") and printed.err.count("\n") == 1
    assert message in printed.err


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("ablation_iterations.py:coop", "takes nothing behind a colon, and 'coop' stands there"),
        ("few_shot.py:mapel", "unknown method 'mapel'. Did you mean 'maple'"),
        ("protocol.py", "is what other configs share, not one to run by itself"),
    ],
)
def test_what_stands_behind_a_config_s_colon(parsed, capsys, file, message):
    code, ran = parsed(f"--config=experiments/configs/{file}")
    assert (code, ran) == (command_line.USAGE_ERROR, [])
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1, error


def test_a_config_with_a_mistake_of_its_own_names_the_file(parsed, capsys, tmp_path):
    (tmp_path / "mine.py").write_text("def get_config():\n    return {}['missing']\n")
    (tmp_path / "none.py").write_text("seed = 1\n")
    for name in ("mine", "none"):
        code, _ = parsed(f"--config={tmp_path / name}.py")
        error = capsys.readouterr().err
        assert code == command_line.USAGE_ERROR and error.count("\n") == 1 and f"{name}.py" in error


def test_an_interrupt_is_no_traceback(parsed, capsys):
    code, _ = parsed(PRO_MPT)
    assert (code, capsys.readouterr().err) == (130, "stopped\n")


def test_the_compilation_cache_is_left_alone_if_set(monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "set")
    monkeypatch.setattr(jax.config, "update", None)
    compiled.keep()

"""--config=FILE --help explains every field of a config, with its value and choices."""

import pytest
import tiny

from experiments.cli import command_line
from experiments.config.config import FIELDS, read
from experiments.configs import default
from experiments.run import fields
from experiments.setup import building
from prompt_jax import methods

TABLES = [("images", name) for name in methods.METHODS]
TABLES += [("videos", name) for name in methods.ENCODERS]
CHOICES = [name for name, field in FIELDS.items() if field.choices]
GROUPS = {"settings", "data"}


def config_of(kind, name):
    config = default.get_config(name, kind)
    if kind == "videos":
        config.data.name = "emoji_clips"
        config.protocol = "retrieval"
    return config


@pytest.mark.parametrize(("kind", "name"), TABLES)
def test_every_field_has_an_explanation(kind, name):
    config = config_of(kind, name)
    message = fields.of_settings(building.find_method(read(config)).Settings)
    message = {f"settings.{key}": text for key, text in message.items()}
    message |= {key: field.help for key, field in FIELDS.items()}
    names = {*config, *(f"data.{key}" for key in config.data)} - GROUPS
    names |= {f"settings.{key}" for key in config.settings}
    assert not {each for each in names if not message.get(each)}
    assert fields.explain(read(config)).count("--config.") >= len(names)


def test_a_field_is_described_by_its_help_choices_range_and_unit():
    config = read(default.get_config())
    assert fields.describe("momentum", config) == ["sgd: momentum", "At least 0 and below 1"]
    [_, names] = fields.describe("protocol", config)
    assert names.startswith("One of: base_to_novel, few_shot, ") and names.endswith("retrieval")
    assert fields.describe("data.shots", config) == ["training images per class", "At least 1"]
    assert fields.describe("log_every", config)[1] == "At least 1, in steps"


def test_an_inherited_setting_is_explained_in_full():
    message = fields.of_settings(methods.get_encoders("a5").Settings)
    assert message["pooling"].startswith("how frame features become a video feature.")
    assert message["postfix"].endswith("vectors after all names (the paper).")


@pytest.mark.parametrize("field", CHOICES)
def test_documented_choices_equal_the_checked_ones(field):
    text = fields.explain(read(default.get_config()))
    paragraph = text.partition(f"--config.{field}=")[2].partition("\n--config.")[0]
    choices = ", ".join(each or "''" for each in FIELDS[field].choices)
    assert f"One of: {choices}" in " ".join(paragraph.split())


def test_settings_of_another_method_are_rejected(monkeypatch, capsys):
    words = ["--config=experiments/configs/images/coop.py", "--config.method=vpt", "--help"]
    assert tiny.run_main(words, monkeypatch) == 2
    assert "which vpt does not have; its settings are" in capsys.readouterr().err


def test_the_command_prints_the_config_s_own_values_and_writes_nothing(
    monkeypatch, capsys, tmp_path
):
    words = ["--config=experiments/configs/images/few_shot.py:coop", "--config.epochs=3"]
    words += [f"--workdir={tmp_path / 'run'}", "--help"]
    assert not tiny.run_main(words, monkeypatch)
    lines = capsys.readouterr().out.splitlines()
    assert {"--config.epochs=3", "--config.method=coop", "--config.batch_size=32"} <= {*lines}
    assert "--config.seeds='(1, 2, 3)'" in lines and not list(tmp_path.iterdir())


def test_an_error_in_the_config_is_one_line(monkeypatch, capsys):
    words = ["--config=experiments/configs/images/coop.py", "--config.data.name=dtt", "--help"]
    assert tiny.run_main(words, monkeypatch) == command_line.USAGE_ERROR
    assert "error: unknown data set 'dtt'. Did you mean 'dtd'" in capsys.readouterr().err

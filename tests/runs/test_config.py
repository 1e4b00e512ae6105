"""The declared fields of a config, and the typed config that is read from a ConfigDict."""

import dataclasses
import json

import pytest

from experiments.config.config import FIELDS, Config, change, read
from experiments.config.data import Data
from experiments.config.protocols import PROTOCOLS
from experiments.configs import default
from experiments.setup import protocols
from prompt_jax.errors import PromptError
from prompt_jax.methods.recipe import Recipe


def test_the_defaults_are_as_declared():
    assert read(default.get_config()).data == Data()
    for name, value in default.get_config().items():
        if name not in ("data", "settings"):
            assert FIELDS[name].default == value


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_a_default_is_allowed(name):
    field = FIELDS[name]
    assert field.help and (not field.choices or field.default in field.choices)
    numbers = [field.default] if isinstance(field.default, int | float) else []
    assert all(map(field.contains, numbers))


@pytest.mark.parametrize(("earlier", "kind"), [("pictures", "images"), ("clips", "videos")])
def test_earlier_names_of_kinds_are_accepted(earlier, kind):
    method = {"images": "coop", "videos": "vop"}[kind]
    assert default.get_config(method, kind=earlier) == default.get_config(method, kind=kind)
    with pytest.raises(PromptError, match="unknown kind of data 'image'. Did you mean 'images'"):
        default.get_config(method, kind="image")


def test_every_protocol_has_its_parts():
    assert protocols.PARTS.keys() == PROTOCOLS.keys()


def test_a_config_has_the_fields_of_a_recipe():
    one = change(read(default.get_config("coop")), {"epochs": 3, "optimizer": "adamw"})
    assert one.recipe == Recipe(epochs=3, optimizer="adamw")


def test_a_written_config_is_read_again():
    c = default.get_config("coop")
    c.seeds, c.data.mean, c.epochs_by_shots = (1, 2), (0.5, 0.5, 0.5), ((1, 50), (4, 100))
    c.variants = (("N=1", (("settings.context_length", 1),)),)
    written = json.loads(json.dumps(c.to_dict()))
    again = change(read(default.get_config("coop")), dict(_flat(written)))
    assert again == read(c) and isinstance(again.epochs_by_shots[0], tuple)


def _flat(section, prefix=""):
    for key, value in section.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def test_whole_numbers_of_any_size_are_compared():
    assert read(change(Config(), {"log_every": 10**400})).log_every == 10**400
    with pytest.raises(PromptError, match="must be at least 0 and at most 4294967295"):
        change(Config(), {"seed": 10**400})


def test_a_typed_config_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().epochs = 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.shot": 4}, r"unknown config key 'data.shot'. Did you mean 'data.shots'"),
        ({"setting.context_length": 4}, r"Did you mean 'settings.context_length'"),
        ({"settings.context_length": "4"}, "settings.context_length='4' is of type str; it must"),
        ({"epochs": True}, "config.epochs=True is of type bool; it must be of int"),
        ({"seeds": 3}, "config.seeds=3 is of type int; it must be of tuple"),
        ({"seeds": (None,)}, "config.seeds has None; it must be whole numbers"),
        ({"seeds": (True,)}, "config.seeds has True; it must be whole numbers"),
        ({"data": 3}, "config.data=3 is of type int; it must be of dict"),
        ({"data.shots_list": (4, 0)}, "shots_list=.4, 0. must be whole numbers.*, at least 1"),
        ({"data.mean": ("a",)}, "config.data.mean has 'a'; it must be three numbers"),
        ({"adam_betas": (0.9,)}, r"adam_betas has \(0.9,\); it must be two numbers"),
        ({"memory_gb": float("inf")}, "memory_gb=inf must be a finite number, at least 0"),
        ({"schedule": "cosin"}, "unknown value of config.schedule: 'cosin'. Did you mean 'cosine'"),
        ({"tracker": "wandbb"}, "Did you mean 'wandb'. Available: '', wandb"),
    ],
)
def test_invalid_values_are_rejected_by_field(changes, message):
    with pytest.raises(PromptError, match=message):
        change(read(default.get_config("coop")), changes)


def test_a_whole_number_too_large_for_a_float_is_rejected():
    c = default.get_config()
    c.learning_rates = (10**400,)
    with pytest.raises(PromptError, match=r"config\.learning_rates="):
        read(c)

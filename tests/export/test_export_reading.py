"""Files beside an exported model.py are data: damaged or malicious ones are rejected."""

import copy
import dataclasses
import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
import types
import zipfile
from typing import Any

import exported
import jax
import needs_torch  # noqa: F401
import numpy as np
import pytest
import safetensors.torch
import torch
from exported import FROZEN
from hypothesis import given, settings
from hypothesis import strategies as st
from test_loading import torchscript

from prompt_jax.clip.checkpoints import layouts
from prompt_jax.export import writing
from prompt_jax.export.torch_parts import reading, weights
from prompt_jax.inputs.images import preprocessing
from prompt_jax.inputs.preparation import CROPS, Inputs
from prompt_jax.inputs.videos import sampling

SIZES = exported.CLIP.config
OPENAI = layouts.openai_layout(SIZES.image_layers, SIZES.text_layers)
STATE = {
    name: torch.tensor(array)
    for name, array in layouts.from_tree(OPENAI, jax.tree.map(np.asarray, FROZEN)).items()
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    writing.write(folder, exported.train("tip_adapter"), FROZEN)
    return folder


@pytest.fixture(scope="module")
def load(whole):
    module = types.ModuleType("exported")
    exec(
        compile((whole / "model.py").read_text(encoding="utf-8"), "model.py", "exec"), vars(module)
    )
    return module.load


@pytest.fixture(scope="module")
def config(whole):
    """Returns config.json without its digest, as an editor or an attacker would change it."""
    content = json.loads((whole / "config.json").read_text(encoding="utf-8"))
    del content["digest"]
    return content


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "export")


def places(content, start=()):
    """Returns the paths of all values in JSON; in lists only the first."""
    for key, value in content.items():
        yield (*start, key)
        if isinstance(value, dict):
            yield from places(value, (*start, key))
        if isinstance(value, list) and value:
            yield (*start, key, 0)


def put(content, place, value):
    changed = copy.deepcopy(content)
    inside = changed
    for key in place[:-1]:
        inside = inside[key]
    inside[place[-1]] = value
    return changed


WRONG = [None, True, -1, 0, 10**9, 10**30, 1e300, 0.5, "", "x", [], [[]], {}, {"x": 1}, ["x"], "\0"]


@settings(deadline=None, derandomize=True, database=None, max_examples=60)
@given(data=st.data(), wrong=st.sampled_from(WRONG))
def test_any_field_may_hold_any_value(load, config, tmp_path_factory, data, wrong):
    """Tests that it is rejected, or loaded if nothing depends on the field."""
    place = data.draw(st.sampled_from(sorted(places(config), key=str)))
    folder = tmp_path_factory.getbasetemp() / "anything"
    shutil.copytree(tmp_path_factory.getbasetemp() / "export0", folder, dirs_exist_ok=True)
    (folder / "config.json").write_text(json.dumps(put(config, place, wrong)))
    try:
        load(folder, STATE)
    except ValueError as error:
        assert str(error)


@pytest.mark.parametrize(
    ("place", "wrong", "message"),
    [
        (("class_names",), "cat", "class_names is 'cat'"),
        (("class_names", 0), 5, r"class_names is \[5,"),
        (("settings",), 5, "settings is 5"),
        (("sizes", "image_layers"), 10**9, "sizes is "),
        (("sizes", "image_layers"), 7, "have 3 layers in the image tower; config.json says 7"),
        (("sizes", "vocab_size"), 5, r"token_embedding.weight has shape \(49408, "),
        (("sizes", "text_heads"), 5, "is not divisible by its number of heads"),
        (("inputs", "mean"), [0, 0], "inputs is "),
        (("inputs", "std"), [1, 0, 1], "inputs is "),
        (("inputs", "std"), [2e-6] * 3, "inputs is "),
        (("inputs", "mean"), [1e5] * 3, "inputs is "),
        (
            ("settings", "alpha"),
            1e200,
            r"settings.alpha=1e\+200 must be a number, at most 16,777,2",
        ),
        (("inputs", "image_size"), 8, "inputs.image_size and sizes.image_size differ"),
        (("inputs", "interpolation"), "x", "inputs is "),
        (("inputs", "of a later version"), 1, "inputs is "),
        (("tokens", exported.TEMPLATE), [[49406, 49407]], "are not 6 rows from SOS to EOT"),
        (("tokens", exported.TEMPLATE, 0), [49406, 5], "are not 6 rows from SOS to EOT"),
        (("format",), "prompt_jax export 9", "format is not 'prompt_jax export 1'"),
        (("backbone",), None, "backbone is None"),
    ],
)
def test_invalid_fields_are_named(load, config, folder, place, wrong, message):
    (folder / "config.json").write_text(json.dumps(put(config, place, wrong)))
    with pytest.raises(ValueError, match=message):
        load(folder, STATE)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 10**5, b'{"format": NaN}']
)
def test_invalid_configs_are_rejected(load, folder, content):
    (folder / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match="config.json is damaged"):
        load(folder, STATE)


def test_a_changed_value_is_detected(load, config, folder):
    text = (folder / "config.json").read_text(encoding="utf-8")
    (folder / "config.json").write_text(text.replace("49406, 320,", "49406, 321,"))
    with pytest.raises(ValueError, match="does not match its digest"):
        load(folder, STATE)
    prompts = bytearray((folder / "prompts.safetensors").read_bytes())
    prompts[-1] ^= 1
    (folder / "config.json").write_text(text)
    (folder / "prompts.safetensors").write_bytes(prompts)
    with pytest.raises(ValueError, match="does not match sha256 of config.json"):
        load(folder, STATE)


def test_preprocessing_choices_are_those_of_the_library():
    assert {field.name for field in dataclasses.fields(Inputs)} == reading._INPUTS
    assert {*reading._CHOICES["frame_rule"]} == {"", *sampling.TEST_RULES}
    assert reading._CHOICES["crop"] == tuple(CROPS)
    assert reading._CHOICES["resize"] == preprocessing.RESIZES
    assert reading._CHOICES["interpolation"] == preprocessing.INTERPOLATIONS
    assert reading._CHOICES["middle"] == preprocessing.MIDDLES


def test_nan_and_infinite_values_are_rejected(load, config, folder):
    path = folder / "prompts.safetensors"
    arrays = safetensors.torch.load_file(path)
    arrays["keys"][0, 0] = float("nan")
    path.write_bytes(safetensors.torch.save(arrays))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "config.json").write_text(json.dumps(config | {"sha256": digest}))
    with pytest.raises(ValueError, match="keys holds NaN or infinite values"):
        load(folder, STATE)


@pytest.mark.parametrize("name", ["config.json", "prompts.safetensors"])
def test_pipes_are_not_opened(load, folder, name):
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(ValueError, match="is not a regular file"):
        load(folder, STATE)


class Evil:
    """A malicious object in a pickle."""

    def __reduce__(self):
        return (exit, ("code of a stranger ran",))


def test_pickles_with_code_are_rejected(tmp_path):
    torch.save({"state_dict": {"a": Evil()}}, tmp_path / "a.pt")
    torchscript({"a": torch.ones(2)}, tmp_path / "plain.pt")
    with (
        zipfile.ZipFile(tmp_path / "plain.pt") as plain,
        zipfile.ZipFile(tmp_path / "b.pt", "w") as changed,
    ):
        for name in plain.namelist():
            is_data = name.endswith("/data.pkl")
            changed.writestr(name, pickle.dumps(Evil()) if is_data else plain.read(name))
    for name in ("a.pt", "b.pt"):
        with pytest.raises(ValueError, match="is damaged, or not a weight file"):
            weights.read_weights(tmp_path / name)


def test_torchscript_is_read_without_running_it(tmp_path, monkeypatch):
    torchscript(STATE, tmp_path / "ViT-B-16.pt")
    monkeypatch.delattr(torch.jit, "load")
    found = weights.read_weights(tmp_path / "ViT-B-16.pt")
    assert found.keys() == STATE.keys()
    for name, array in STATE.items():
        assert torch.equal(found[name], array.half().float()), name


def test_names_are_escaped_on_the_terminal(tmp_path):
    """The program prints names of classes and files, also in an ASCII locale."""
    run = exported.save_run(tmp_path / "run", exported.train("zero_shot"))
    names = [f"cat{chr(27)}[2J", "two\nlines", "蟻"]
    writing.write(tmp_path / "run", exported_with(names), FROZEN)
    image = sorted(exported.save_images(tmp_path / "new\nline", 1).iterdir())[0]
    command = [sys.executable, "model.py", "--clip", "clip", str(image)]
    environment = os.environ | {"PYTHONIOENCODING": "ascii:strict"}
    done = subprocess.run(command, cwd=run, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1 and chr(27) not in done.stdout
    assert r"cat\x1b[2J" in done.stdout and r"two\nlines" in done.stdout


def exported_with(names: list[str]) -> Any:
    return dataclasses.replace(exported.train("zero_shot"), class_names=tuple(names))

"""Untrusted model.json and prompts.safetensors put no code into the generated files."""

import ast
import dataclasses
import json
import string
import types
from typing import Any

import exported
import exported_videos
import needs_torch  # noqa: F401
import numpy as np
import pytest
import tiny
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from prompt_jax.errors import PromptError
from prompt_jax.export import source, to_onnx, to_stablehlo, writing
from prompt_jax.export.torch_parts.classifier import Prompts

HARMLESS = exported.train("coop", context_length=4)
VIDEOS = dataclasses.replace(exported_videos.train("vop", depth=1), prompts={})
CODE = '4, S]\n"""\nraise SystemExit("code of a stranger ran")\n"""'
TEXTS = st.text() | st.sampled_from([CODE, '"""', "\\", "\n", "\r", "{}", "'''", "\x00", "\N{BOM}"])


def with_texts(model, text, other):
    """Returns the model with untrusted text in every field that does not select the code."""
    of_texts = {name: text for name, value in model.settings.items() if isinstance(value, str)}
    inputs: Any = types.SimpleNamespace(**dict.fromkeys(vars(model.inputs), text))
    return dataclasses.replace(
        model,
        settings={**model.settings, **of_texts, text: other},
        class_names=(text, other),
        template=other,
        backbone=text,
        backbone_hash=other,
        activation=text,
        dtype=other,
        inputs=inputs,
        trained={text: other},
    )


@pytest.mark.parametrize("model", [HARMLESS, VIDEOS], ids=["images", "videos"])
@given(text=TEXTS, other=TEXTS)
@example(text=CODE, other='"""')
@settings(deadline=None, max_examples=20)
def test_no_text_of_a_model_enters_the_code(model, text, other):
    code = writing.code_of(with_texts(model, text, other))
    assert code == writing.code_of(model)
    assert ast.dump(ast.parse(code)) == ast.dump(ast.parse(writing.code_of(model)))


@given(method=TEXTS | st.sampled_from(["../evil", "classifier", "clip", "__init__", "coop.py"]))
@settings(deadline=None, max_examples=50)
def test_a_method_is_a_known_name_not_a_path(method):
    model = dataclasses.replace(HARMLESS, method=method)
    if method in source.methods():
        return
    with pytest.raises(PromptError, match="has no PyTorch code"):
        writing.find_part(model)


def test_untrusted_texts_are_data_in_the_exported_files(tmp_path):
    """Tests fields of model.json that end the docstring and begin code."""
    model = dataclasses.replace(HARMLESS, backbone=CODE, template=f"{CODE} {{}}")
    writing.write(tmp_path, model, exported.FROZEN)
    assert (tmp_path / "model.py").read_text(encoding="utf-8") == writing.code_of(HARMLESS)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert config["backbone"] == CODE
    loaded = to_onnx.load(tmp_path, model, exported.FROZEN)
    assert loaded.config["template"] == model.template


# torch.fx splits generated code at line feeds only; text after a carriage return in a name was at
# the start of a line of Python, and ran.
WORD = {*string.ascii_letters, *string.digits, "_"}
NAMES = ['x")\rraise SystemExit("ran")\rdef f(self):\r    0#', 'x"', "a b", "x\n", "", "é", "a..b"]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_arrays_cannot_be_code(tmp_path, name):
    prompts = {**HARMLESS.prompts, name: np.ones(2, np.float32)}
    if name == "a..b":
        prompts = {**HARMLESS.prompts, "a": {"": {"b": np.ones(2, np.float32)}}}
    with pytest.raises(PromptError, match="is not a valid array name"):
        writing.write(tmp_path, dataclasses.replace(HARMLESS, prompts=prompts), exported.FROZEN)
    assert not list(tmp_path.iterdir())


@given(name=TEXTS)
@example(name=NAMES[0])
@settings(deadline=None, max_examples=50)
def test_an_exported_file_rejects_such_names_too(name):
    if all(part and set(part) <= WORD for part in name.split(".")):
        return
    with pytest.raises(ValueError, match="is not a valid array name"):
        Prompts({name: torch.ones(2)})


@pytest.mark.slow
def test_programs_contain_no_paths(tmp_path):
    """ONNX and StableHLO record the source of operations, which must be removed."""
    model = dataclasses.replace(HARMLESS, backbone="SECRET backbone")
    writing.write(tmp_path, model, exported.FROZEN)
    to_onnx.write(tmp_path, model, exported.FROZEN)
    to_stablehlo.write(tmp_path, model, exported.FROZEN)
    home = str(tiny.REPOSITORY).encode()
    for name in ("model.onnx", "model.stablehlo"):
        content = (tmp_path / name).read_bytes()
        for text in (b"SECRET", b"site-packages", home, str(tmp_path).encode()):
            assert text not in content, (name, text)

"""Untrusted checkpoint directories cannot hang the loader or exhaust the memory."""

import json
import os
import struct

import numpy as np
import pytest
import safetensors
import tiny
from safetensors.numpy import load_file, save_file

from prompt_jax.clip import saving
from prompt_jax.clip.checkpoints.layouts import from_tree, openai_layout
from prompt_jax.clip.checkpoints.state_dicts import read_json, read_state
from prompt_jax.clip.loading import load
from prompt_jax.clip.saving import save_hugging_face
from prompt_jax.errors import PromptError


@pytest.fixture
def folder(tmp_path):
    """Returns the tiny CLIP as a Hugging Face directory."""
    return tiny.save_clip(tmp_path / "clip")


@pytest.fixture
def state():
    """Returns the same by OpenAI's names."""
    return from_tree(openai_layout(2, 2), tiny.frozen_parameters())


def refusal(source):
    with pytest.raises(PromptError) as caught:
        load(source)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 1000, message
    return message


def save_open_clip(state, model, folder):
    content = {"model_cfg": {"embed_dim": 16, "vision_cfg": {}, "text_cfg": {}} | model}
    content["model_cfg"]["vision_cfg"].setdefault("head_width", 16)
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    save_file(state, folder / "open_clip_model.safetensors")


@pytest.mark.parametrize("section", ["vision_config", "text_config"])
@pytest.mark.parametrize(
    ("key", "size", "message"),
    [
        ("num_hidden_layers", 10**6, "num_hidden_layers=1000000, but the weights have 2 blocks"),
        (
            "num_hidden_layers",
            10**9,
            "num_hidden_layers: 1000000000: Input should be less than or equal to 1000000",
        ),
        ("hidden_size", 10**9, "hidden_size: 1000000000: Input"),
        ("intermediate_size", 10**4000, "intermediate_size: 1000000000"),
        ("num_attention_heads", 10**9, "num_attention_heads: 1000000000: Input"),
        ("layer_norm_eps", [[["x" * 10**6]]], "layer_norm_eps: [[['xxx"),
        ("hidden_act", "x" * 10**6, "hidden_act is "),
    ],
)
def test_declared_sizes_are_compared_with_the_weights_before_allocation(
    section, key, size, message, folder
):
    content = json.loads((folder / "config.json").read_text())
    content[section][key] = size
    (folder / "config.json").write_text(json.dumps(content))
    assert message in refusal(folder)


@pytest.mark.parametrize("tower", ["visual.transformer", "transformer"])
@pytest.mark.parametrize("number", ["3", "999999999", "9" * 100])
def test_a_huge_block_number_does_not_allocate_blocks(tower, number, state, tmp_path):
    state[f"{tower}.resblocks.{number}.ln_1.bias"] = np.zeros(32, np.float32)
    save_open_clip(state, {"text_cfg": {"heads": 2}}, tmp_path)
    message = refusal(tmp_path)
    # A number of more than nine digits is not a block number, so the name is unexpected.
    missing = f"{tower}.resblocks.2 is missing"
    assert ("1 unexpected: " if len(number) > 9 else missing) in message


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"vision_cfg": {"layers": 10**9}}, "vision_cfg.layers=1000000000, but the weights have 2"),
        ({"text_cfg": {"heads": 10**4000}}, "text_cfg.heads: 1000000000"),
        ({"text_cfg": {"heads": True}}, "text_cfg.heads: True: Input should be a valid integer"),
        ({"quick_gelu": "false"}, "Input should be a valid boolean"),
        ({"vision_cfg": {"x" * 10**6: 1}}, "is not supported"),
    ],
)
def test_open_clip_settings_of_any_size_and_type(model, message, state, tmp_path):
    save_open_clip(state, model, tmp_path)
    assert message in refusal(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[" * 100_000, "its brackets are nested too deeply"),
        ('{"a": ' * 100_000, "its brackets are nested too deeply"),
        (f'{{"a": {"9" * 5000}}}', "Exceeds the limit (4300 digits)"),
        ('{"a": 1, "b": 2, "a": 3}', "key 'a' occurs twice"),
        ('{"a": {"b": 2, "b": 3}}', "key 'b' occurs twice"),
        ('{"a": NaN}', "NaN is not valid JSON"),
        ('{"a": -Infinity}', "-Infinity is not valid JSON"),
        ("[1]", "holds a list, not a JSON object"),
        ("\ufeff{}", "cannot be read as JSON"),
        (b"\xff\xfe", "cannot be read as JSON"),
        ("", "config.json is empty"),
    ],
)
def test_json_is_parsed_strictly(content, message, tmp_path):
    path = tmp_path / "config.json"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(PromptError) as caught:
        read_json(path)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_an_endless_json_file_is_rejected(tmp_path):
    path = tmp_path / "config.json"
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(PromptError, match="config.json is larger than 64 MiB"):
        read_json(path)


def sharded(folder, weight_map):
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    (folder / "model.safetensors").unlink(missing_ok=True)
    return folder


@pytest.mark.parametrize(
    "name", ["../other/a.safetensors", "/etc/a.safetensors", "x" * 300, "a\0b", "", "a\\b", "a\x1b"]
)
def test_a_shard_must_be_a_file_in_the_directory(name, folder):
    message = refusal(sharded(folder, {"logit_scale": name}))
    assert "is not a file name in its directory" in message and "\0" not in message


@pytest.mark.parametrize("name", ["..", ".", "clip"])
def test_a_shard_must_not_be_a_directory(name, folder):
    assert "names shards that are missing" in refusal(sharded(folder, {"logit_scale": name}))


def test_an_index_of_very_many_shards(folder):
    names = {str(i): f"{i}.safetensors" for i in range(50_000)}
    assert refusal(sharded(folder, names)).count(".safetensors") == 9


def test_a_tensor_in_two_shards_is_rejected(folder):
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors, folder / "a.safetensors")
    save_file({"logit_scale": np.array(9, np.float32)}, folder / "b.safetensors")
    sharded(folder, {"x": "a.safetensors", "logit_scale": "b.safetensors"})
    assert "logit_scale is in two of its shards" in refusal(folder)


def header(path, content, length=None):
    content = content.encode()
    length = struct.pack("<Q", len(content) if length is None else length)
    path.write_bytes(length + content + b"\0" * 4)
    return path


def entry(name, begin, end):
    return f'"{name}": {{"dtype": "F32", "shape": [1], "data_offsets": [{begin}, {end}]}}'


STEERING = "\\u001b[2J"  # clears a terminal
HEADERS = {
    "twice": (f"{{{entry('a', 0, 4)}, {entry('a', 0, 4)}}}", "key 'a' occurs twice"),
    "overlapping": (f"{{{entry('a', 0, 4)}, {entry('b', 0, 4)}}}", "invalid offset"),
    "outside": (f"{{{entry('a', 0, 2**40)}}}", "not a readable safetensors file"),
    "nested": ("[" * 100_000, "not a readable safetensors file"),
    "overflow": (
        '{"a": {"dtype": "F32", "shape": [4294967296, 4294967296], "data_offsets": [0, 0]}}',
        "not a readable safetensors file",
    ),
    "long name": (f"{{{entry('x' * 10**6, 0, 4)}}}", "must be printable"),
    "steering name": (f"{{{entry(STEERING, 0, 4)}}}", "[2J' must be printable"),
}


@pytest.mark.parametrize(("content", "message"), HEADERS.values(), ids=HEADERS)
def test_malformed_safetensors_headers(content, message, tmp_path):
    assert message in refusal(header(tmp_path / "a.safetensors", content))


def test_a_header_longer_than_its_file(tmp_path):
    assert "not a readable" in refusal(header(tmp_path / "a.safetensors", "{}", length=2**62))


def test_special_files_are_not_opened(folder, tmp_path):
    os.mkfifo(tmp_path / "pipe.safetensors")
    os.mkfifo(tmp_path / "pipe.pt")
    for name in ("pipe.safetensors", "pipe.pt"):
        assert f"{name} is not a file but a directory, pipe or device" in refusal(tmp_path / name)
    (tmp_path / "a.safetensors").mkdir()
    assert "neither config.json nor open_clip_config.json" in refusal(tmp_path / "a.safetensors")
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    assert "neither config.json nor" in refusal(folder)
    (folder / "model.safetensors").rename(tmp_path / "model.safetensors")
    (tmp_path / "config.json").symlink_to("/dev/zero")
    assert "config.json" in refusal(tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    "name", ["x" * 300, "/tmp/" + "x" * 300 + ".pt", "a/" + "x" * 5000, "~nobody-at-all/clip.pt"]
)
def test_invalid_tensor_names(name):
    assert "cannot be looked up: " in refusal(name)


def test_a_null_character_in_a_name():
    assert "no such file or directory" in refusal("/tmp/a\0b.pt")


@pytest.mark.parametrize("there", [False, True])
def test_a_failed_save_leaves_the_earlier_files(there, folder, tmp_path, monkeypatch):
    target = folder if there else tmp_path / "new"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(state, path, metadata):
        path.write_bytes(b"half")
        raise safetensors.SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(saving, "save_file", full)
    with pytest.raises(PromptError, match=r"cannot be written: .*No space left on device"):
        save_hugging_face(tiny.CONFIG, tiny.frozen_parameters(), target, overwrite=True)
    assert {p.name: p.read_bytes() for p in target.iterdir()} == (before if there else {})


def test_a_file_in_place_of_the_directory(tmp_path):
    (tmp_path / "file").write_text("")
    for place in ("file", "file/below"):
        with pytest.raises(PromptError, match="cannot be written: "):
            save_hugging_face(tiny.CONFIG, tiny.frozen_parameters(), tmp_path / place)


def test_names_are_checked_in_pytorch_files_too(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"\x1b[2J": torch.ones(1)}, tmp_path / "a.pt")
    with pytest.raises(PromptError, match="must be printable"):
        read_state(tmp_path / "a.pt")

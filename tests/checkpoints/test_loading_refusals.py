"""Damaged, missing and unsupported checkpoints are rejected with the files and keys concerned."""

import json
import sys
from pathlib import Path

import huggingface_hub
import needs_torch  # noqa: F401
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from prompt_jax.clip import CLIPConfig, loading
from prompt_jax.clip.checkpoints.layouts import from_tree, openai_layout, parameter_shapes
from prompt_jax.clip.loading import load
from prompt_jax.clip.saving import save_hugging_face
from prompt_jax.errors import PromptError

CONFIG = CLIPConfig(
    image_size=16,
    patch_size=8,
    image_width=128,
    image_layers=2,
    image_heads=2,
    image_mlp=512,
    text_width=64,
    text_layers=3,
    text_heads=1,
    text_mlp=256,
    embed_dim=32,
)


@pytest.fixture
def frozen():
    """Returns a parameter tree of zeros."""
    tree = {}
    for path, shape in parameter_shapes(CONFIG).items():
        *parents, last = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = np.zeros(shape, np.float32)
    return tree


@pytest.fixture
def state(frozen):
    """Returns the same by OpenAI's names."""
    return from_tree(openai_layout(CONFIG.image_layers, CONFIG.text_layers), frozen)


@pytest.fixture
def folder(frozen, tmp_path):
    """Returns the same as a Hugging Face directory."""
    save_hugging_face(CONFIG, frozen, tmp_path / "clip")
    return tmp_path / "clip"


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def save_torch(state, path):
    torch.save({name: torch.from_numpy(array) for name, array in state.items()}, path)


BLOCK = "transformer.resblocks.0"
CHANGES = {
    "missing": (
        lambda s: [s.pop("visual.ln_pre.bias"), s.pop("logit_scale")],
        r"2 missing: visual.ln_pre.bias \[128\], logit_scale \[\]",
    ),
    "no sizes": (lambda s: s.pop("visual.proj"), "1 missing, needed .*: visual.proj"),
    "unexpected": (
        lambda s: s.update({f"visual.extra.{i}": np.zeros(2, np.float32) for i in range(9)}),
        r"9 unexpected: visual.extra.0 \[2\], .* visual.extra.7 \[2\] and 1 more",
    ),
    "misshapen": (
        lambda s: s.update({f"{BLOCK}.ln_1.bias": np.zeros(3, np.float32)}),
        rf"1 misshapen: {BLOCK}.ln_1.bias \[3\] instead of \[64\]",
    ),
    "axes": (
        lambda s: s.update({"visual.conv1.weight": np.zeros(3, np.float32)}),
        r"visual.conv1.weight \[3\]; it must have 4 axes",
    ),
    "grid": (
        lambda s: s.update({"visual.positional_embedding": np.zeros((4, 128), np.float32)}),
        r"visual.positional_embedding \[4, 128\]: not 1 \+ a square",
    ),
    "NaN": (
        lambda s: s["ln_final.bias"].__setitem__(3, float("nan")),
        "1 holding NaN or infinity: ln_final.bias",
    ),
    "integers": (
        lambda s: s.update({"ln_final.bias": np.zeros(64, np.int8)}),
        "1 not floating point: ln_final.bias int8",
    ),
    "scalar": (
        lambda s: s.update({"input_resolution": np.array(224)}),
        "input_resolution=224, but the shapes of the weights give 16",
    ),
    "ResNet": (
        lambda s: s.update({"visual.layer1.0.conv1.weight": np.zeros(1, np.float32)}),
        "ResNet",
    ),
    "SigLIP": (lambda s: s.update({"logit_bias": np.zeros(1, np.float32)}), "a SigLIP"),
    "no CLIP": (
        lambda s: [s.clear(), s.update({"fc.weight": np.zeros(2, np.float32)})],
        r"not a CLIP: .*\(fc.weight, …\)",
    ),
    "huge": (
        lambda s: s.update({"visual.conv1.weight": np.zeros((1280, 3, 8, 8), np.float32)}),
        r"1280 \(ViT-H\) does not determine the number of heads",
    ),
}


@pytest.mark.parametrize(("change", "message"), CHANGES.values(), ids=CHANGES)
def test_mismatched_weights_are_named(change, message, state, tmp_path):
    change(state)
    save_file(state, tmp_path / "clip.safetensors")
    with pytest.raises(PromptError, match=message) as caught:
        load(tmp_path / "clip.safetensors")
    assert str(caught.value).startswith(str(tmp_path / "clip.safetensors"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(model_type="siglip"), "model_type='siglip' .* only 'clip'"),
        (lambda c: c.pop("model_type"), "model_type=None"),
        (
            lambda c: c["vision_config"].update(image_size=[16, 8]),
            r"vision_config.image_size: \[16, 8\]: .* integer",
        ),
        (lambda c: c["vision_config"].update(layer_norm_eps=1e-6), "layer_norm_eps=1e-06"),
        (lambda c: c["text_config"].update(hidden_act="gelu_new"), "hidden_act is 'quick_gelu'"),
        (
            lambda c: c["text_config"].update(num_hidden_layers=4),
            "text_config.num_hidden_layers=4, but the weights have 3 blocks",
        ),
        (lambda c: c["text_config"].update(num_hidden_layers=2), "=2, but the weights have 3"),
        (lambda c: c.update(text_config=3), "text_config must be an object"),
    ],
)
def test_mismatched_configs_are_rejected(change, message, folder):
    edit(folder / "config.json", change)
    with pytest.raises(PromptError, match=message):
        load(folder)


def test_damaged_and_foreign_files_are_rejected(folder, state, tmp_path):
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    save_torch(state, tmp_path / "whole.pt")
    pickled = (tmp_path / "whole.pt").read_bytes()
    for path, content, message in (
        (weights, b"", "is empty"),
        (weights, whole[:1000], "not a readable safetensors file"),
        (weights, whole[:-1000], "not a readable safetensors file"),
        (weights, b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (tmp_path / "a.pt", b"hello", "not a readable PyTorch checkpoint"),
        (tmp_path / "a.pt", pickled[: len(pickled) // 2], "not a readable PyTorch checkpoint"),
        (tmp_path / "a.jpg", b"hello", "not a weight file; they end in .safetensors"),
        (folder / "config.json", b"{", "cannot be read as JSON"),
    ):
        path.write_bytes(content)
        with pytest.raises(PromptError, match=message):
            load(folder if path.parent == folder else path)
        path.write_bytes(whole if path == weights else b"")
    torch.save([1], tmp_path / "list.pt")
    with pytest.raises(PromptError, match="holds a list, not a state dict"):
        load(tmp_path / "list.pt")


def test_incomplete_directories_are_rejected(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(PromptError, match="neither config.json nor open_clip_config.json"):
        load(tmp_path / "empty")
    (folder / "config.json").rename(folder / "config.old")
    with pytest.raises(PromptError, match="need config.json beside them"):
        load(folder / "model.safetensors")
    (folder / "config.old").rename(folder / "config.json")
    (folder / "model.safetensors").unlink()
    with pytest.raises(PromptError, match="has none of model.safetensors, "):
        load(folder)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("ViT-B/61", r"unknown CLIP 'ViT-B/61'. Did you mean .*'ViT-B/16'.*ViT-L/14@336px"),
        ("RN50", "unknown CLIP 'RN50'.*org/name"),
        ("embeded", "Did you mean 'embedded'"),
        ("weights/clip.pt", "no such file or directory"),
        (Path("nowhere"), "nowhere: no such file or directory"),
        ("/no/where", "no such file or directory"),
    ],
)
def test_unknown_sources_are_explained(source, message):
    with pytest.raises(PromptError, match=message):
        load(source)


def test_an_unreachable_hub_is_explained(monkeypatch):
    def offline(hub_id, allow_patterns):
        raise huggingface_hub.errors.LocalEntryNotFoundError("cannot reach the hub\nmore")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(PromptError, match="someone/clip: .*cannot reach the hub.*direct") as caught:
        load("someone/clip")
    assert "\n" not in str(caught.value)


def test_the_activation_argument_takes_precedence_and_is_checked(folder):
    assert load(folder, activation="gelu")[0].activation == "gelu"
    with pytest.raises(PromptError, match="activation='relu'"):
        load(folder, activation="relu")


def test_saving_rejects_what_would_not_load(frozen, tmp_path):
    with pytest.raises(PromptError, match="dtype='int8'"):
        save_hugging_face(CONFIG, frozen, tmp_path / "a", "int8")
    large = frozen | {"logit_scale": np.float32(1e6)}
    with pytest.raises(PromptError, match="NaN or infinity: logit_scale"):
        save_hugging_face(CONFIG, large, tmp_path / "a", "float16")
    with pytest.raises(PromptError, match="1 missing: logit_scale"):
        save_hugging_face(CONFIG, {k: frozen[k] for k in ("image", "text")}, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_no_file_needs_torch(folder, state, tmp_path, monkeypatch):
    save_torch(state, tmp_path / "clip.pt")
    monkeypatch.setitem(sys.modules, "torch", None)
    load(tmp_path / "clip.pt", "gelu")
    load(folder)


def test_a_missing_embedded_clip_is_explained(monkeypatch, tmp_path):
    monkeypatch.setattr(loading, "EMBEDDED", tmp_path)
    with pytest.raises(PromptError, match="embedded CLIP is not in this installation"):
        load("embedded")


@pytest.mark.parametrize(
    ("section", "setting", "message"),
    [
        ("vision_cfg", {"pool_type": "avg"}, "vision_cfg.pool_type='avg' is not supported"),
        ("vision_cfg", {"layers": 3}, "vision_cfg.layers=3, but the weights have 2"),
        ("vision_cfg", {"head_width": 48}, "128 is not divisible by the head width 48"),
        ("text_cfg", {"heads": "2"}, "text_cfg.heads: .*2.* should be a valid integer"),
        ("text_cfg", {"hf_model_name": "roberta"}, "hf_model_name='roberta' is not supported"),
    ],
)
def test_mismatched_open_clip_settings_are_rejected(section, setting, message, state, tmp_path):
    model = {"embed_dim": 32, "vision_cfg": {}, "text_cfg": {}}
    model[section] = setting
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": model}))
    save_file(state, tmp_path / "open_clip_model.safetensors")
    with pytest.raises(PromptError, match=message):
        load(tmp_path)

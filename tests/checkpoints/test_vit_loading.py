"""DINO's ViT in both layouts gives the published features; anything else is rejected."""

import json

import jax
import needs_torch  # noqa: F401
import numpy as np
import pytest
import torch
import transformers
from reference import BATCH, FIGURES, FOLDER
from safetensors.numpy import save_file

from prompt_jax.clip.layers import stack_layers
from prompt_jax.clip.loading import fingerprint
from prompt_jax.errors import PromptError
from prompt_jax.vit import ViT, ViTConfig, loading
from prompt_jax.vit.layouts import dino_layout, hugging_face_layout, parameter_shapes

SIZES = ViTConfig(image_size=32, patch_size=8, width=128, layers=2, heads=2, mlp=512, epsilon=1e-6)


def state():
    """Returns the tiny DINO's weights by the names of its own layout."""
    with np.load(FOLDER / "dino.npz") as arrays:
        return {name: np.asarray(arrays[name], np.float32) for name in arrays}


def torch_vit(epsilon=1e-12, classifier=False):
    """Returns a random transformers ViT whose biases are not zero."""
    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 48, "image_size": 24, "patch_size": 6}
    config = transformers.ViTConfig(**sizes, layer_norm_eps=epsilon)
    torch.manual_seed(0)
    kind = transformers.ViTForImageClassification if classifier else transformers.ViTModel
    model = kind(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def features(found, images, **options):
    return ViT(found.config, **options).encode_image(found.frozen, images)


def test_dino_layout_gives_the_published_features(tmp_path):
    torch.save({name: torch.from_numpy(x) for name, x in state().items()}, tmp_path / "dino.pth")
    found = loading.read(tmp_path / "dino.pth")
    assert found.config == SIZES
    assert found.normalization == loading.IMAGENET
    assert "heads of width 64" in found.assumed[0]
    published = FIGURES["nola"]["dino_features"]
    assert np.abs(features(found, BATCH["image"]) - published).max() < 1e-5
    stacked = found._replace(frozen=stack_layers(found.frozen))
    assert np.abs(features(stacked, BATCH["image"], scan_layers=True) - published).max() < 1e-5


def test_hugging_face_layout_takes_sizes_and_epsilon_from_its_config(tmp_path):
    model = torch_vit(epsilon=1e-3, classifier=True)
    model.save_pretrained(tmp_path)
    (tmp_path / loading.PROCESSOR).write_text(
        json.dumps({"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.6, 0.7]})
    )
    found = loading.read(tmp_path)
    assert found.config.epsilon == 1e-3
    assert found.normalization == ((0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    assert found.assumed[0].startswith("left out: classifier")
    images = np.random.default_rng(0).standard_normal((2, 24, 24, 3), np.float32)
    with torch.no_grad():
        given = torch.from_numpy(images.transpose(0, 3, 1, 2))
        theirs = model.vit(given).last_hidden_state[:, 0].numpy()
    assert np.abs(features(found, images) - theirs).max() < 1e-5


def test_both_layouts_have_150_arrays_of_the_same_shapes_at_the_released_size():
    released = ViTConfig(224, 16, 768, 12, 12, 3072, 1e-6)
    names = [name for leaf in dino_layout(12) for name in leaf.names]
    assert len(names) == len(set(names)) == 150
    shapes = parameter_shapes(released)
    assert {leaf.path for leaf in dino_layout(12)} == shapes.keys()
    assert {leaf.path for leaf in hugging_face_layout(12)} == shapes.keys()
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == 85_798_656


def test_images_are_renormalized_for_the_tower():
    config, frozen = SIZES, None
    with np.load(FOLDER / "dino.npz") as arrays:
        found = loading.build({n: np.asarray(arrays[n], np.float32) for n in arrays}, FOLDER)
    config, frozen = found.config, found.frozen
    pixels = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    given, wanted = ((0.4, 0.5, 0.6), (0.2, 0.3, 0.4)), loading.IMAGENET
    normalized = [(pixels - np.float32(m)) / np.float32(s) for m, s in (given, wanted)]
    ours = ViT(config, given=given, wanted=wanted).encode_image(frozen, normalized[0])
    plain = ViT(config).encode_image(frozen, normalized[1])
    assert np.abs(ours - plain).max() < 1e-4


def remove(name):
    return lambda arrays: arrays.pop(name)


def put(name, array):
    return lambda arrays: arrays.update({name: array})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove("blocks.1.attn.qkv.bias"), r"1 missing: blocks.1.attn.qkv.bias \[384\]"),
        (put("blocks.0.ls1.gamma", np.ones(128, np.float32)), "1 unexpected: blocks.0.ls1.gamma"),
        (put("norm.weight", np.full(128, np.nan, np.float32)), "1 holding NaN or infinity"),
        (put("norm.weight", np.ones(64, np.float32)), r"1 misshapen: norm.weight \[64\]"),
        (put("cls_token", np.ones((1, 2, 64), np.float32)), r"misshapen: cls_token \[2, 64\]"),
        (put("pos_embed", np.ones((1, 16, 128), np.float32)), "pos_embed has 16 positions"),
        (remove("patch_embed.proj.weight"), "the weights lack patch_embed.proj.weight"),
        (remove("cls_token"), "not a ViT: no key is cls_token or embeddings.cls_token"),
        (put("blocks.3.norm1.bias", np.ones(128, np.float32)), "blocks.2 is missing"),
    ],
)
def test_other_weights_are_rejected(tmp_path, change, message):
    arrays = state()
    change(arrays)
    save_file(arrays, tmp_path / "dino.safetensors")
    with pytest.raises(PromptError, match=message):
        loading.read(tmp_path / "dino.safetensors")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("model_type", "dinov2", "model_type"),
        ("num_hidden_layers", 4, "num_hidden_layers=4, but the weights have 3 blocks"),
        ("hidden_act", "gelu_new", "hidden_act"),
        ("layer_norm_eps", 1.0, "layer_norm_eps"),
        ("num_attention_heads", 5, "not divisible by heads=5"),
        ("hidden_size", -1, "hidden_size"),
    ],
)
def test_other_configs_are_rejected(tmp_path, field, value, message):
    torch_vit().save_pretrained(tmp_path)
    content = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(content | {field: value}))
    with pytest.raises(PromptError, match=message):
        loading.read(tmp_path)


def test_names_without_weights_are_rejected(tmp_path):
    for source, message in (
        (tmp_path, "has none of model.safetensors"),
        (tmp_path / "absent.pth", "no such file"),
        ("dino_vitb16", "pass DINO's weight file"),
    ):
        with pytest.raises(PromptError, match=message):
            loading.read(source)


def test_fingerprint_is_of_the_arrays():
    with np.load(FOLDER / "dino.npz") as arrays:
        found = loading.build({n: np.asarray(arrays[n], np.float32) for n in arrays}, FOLDER)
    same = fingerprint(found.config, stack_layers(found.frozen))
    assert fingerprint(found.config, found.frozen) == same
    other = jax.tree.map(lambda x: x + 1, found.frozen)
    assert fingerprint(found.config, other) != same

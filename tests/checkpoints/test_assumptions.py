"""Settings that a bare state dict lacks are requested or assumed, and recorded in the model."""

import dataclasses
import json

import huggingface_hub
import jax
import numpy as np
import pytest
import tiny
from safetensors.numpy import load_file, save_file

import prompt_jax as pj
from prompt_jax.clip import CLIP, loading
from prompt_jax.clip.checkpoints.layouts import from_tree, openai_layout
from prompt_jax.errors import PromptError
from prompt_jax.models import saved

SIZES = dataclasses.replace(
    tiny.CONFIG, image_width=128, image_heads=2, text_width=64, text_heads=1, embed_dim=16
)


@pytest.fixture
def state():
    """Returns a tiny CLIP with heads of width 64, by OpenAI's names, without OpenAI's scalars."""
    layout = openai_layout(SIZES.image_layers, SIZES.text_layers)
    return from_tree(layout, jax.tree.map(np.asarray, jax.jit(CLIP(SIZES).init)(jax.random.key(0))))


def bare(state, folder):
    path = folder / "clip.safetensors"
    save_file(state, path)
    return path


def open_clip(folder, **model):
    sections = {"vision_cfg": {"image_size": SIZES.image_size}, "text_cfg": {"heads": 1}} | model
    content = {"model_cfg": {"embed_dim": SIZES.embed_dim} | sections}
    (folder / "open_clip_config.json").write_text(json.dumps(content))


def test_a_missing_activation_is_requested(state, tmp_path):
    path = bare(state, tmp_path)
    with pytest.raises(
        PromptError, match="activation='quick_gelu' .*'gelu'.*open_clip_config.json"
    ):
        loading.load(path)
    for activation in ("quick_gelu", "gelu"):
        assert loading.load(path, activation)[0].activation == activation
    scalars = {"input_resolution": SIZES.image_size, "context_length": 77, "vocab_size": 49408}
    path = bare(state | {name: np.array(size) for name, size in scalars.items()}, tmp_path)
    config, _, assumed = loading.read(path)
    assert config.activation == "quick_gelu" and not assumed
    [line] = loading.read(path, "gelu").assumed
    assert (
        line
        == "activation: 'gelu', as requested, instead of 'quick_gelu' of the file's own scalars"
    )


def test_other_errors_come_before_the_missing_activation(state, tmp_path):
    del state["ln_final.bias"]
    with pytest.raises(PromptError, match="1 missing: ln_final.bias"):
        loading.load(bare(state, tmp_path))


def test_each_assumption_is_reported_until_a_config_states_it(state, tmp_path):
    path = bare(state, tmp_path)
    lines = loading.read(path, "quick_gelu").assumed
    for line, words in zip(
        lines,
        (
            "activation: 'quick_gelu', as requested",
            "assumed: heads of width 64, 2 in the image tower and 1 in the text tower",
            "assumed: images pooled at the class token, texts at their end, under a causal mask",
            "assumed: square images, 32 x 32 pixels in 2 x 2 patches",
            "assumed: CLIP's tokenizer",
        ),
        strict=True,
    ):
        assert line.startswith(words)
        assert line.endswith(("the file does not state it", "beside the file to state it"))
    open_clip(tmp_path, quick_gelu=True)
    assert loading.read(path).assumed == ()
    open_clip(tmp_path, quick_gelu=True, vision_cfg={"image_size": [2 * SIZES.image_size, 8]})
    with pytest.raises(PromptError, match="image_size=.*, but the weights have"):
        loading.read(path)


def test_a_stored_mask_identifies_a_causal_text_tower(state, tmp_path):
    mask = np.triu(np.full((77, 77), -np.inf, np.float32), 1)
    lines = loading.read(bare(state | {"attn_mask": mask}, tmp_path), "gelu").assumed
    assert "texts at their end; put open_clip_config.json" in lines[2]
    for other in (np.zeros((77, 77), np.float32), mask[:5, :5], mask.T, mask * np.nan):
        path = bare(state | {"attn_mask": np.array(other, order="C")}, tmp_path)
        with pytest.raises(PromptError, match="attn_mask is not the causal mask of CLIP"):
            loading.read(path, "gelu")


def test_notes_are_printed_and_recorded_and_the_activation_is_used(state, tmp_path, capsys):
    path = bare(state, tmp_path)
    with pytest.raises(PromptError, match="does not state the activation"):
        pj.load(path)
    model = pj.load(path, activation="quick_gelu").zero_shot(["cat", "dog"])
    notes = capsys.readouterr().err.splitlines()
    assert [line.removeprefix(f"note: {path}: ") for line in notes] == list(model.assumed)
    kept = saved.read(model.save(tmp_path / "model"))
    assert kept.activation == kept.sizes.activation == "quick_gelu"
    assert kept.trained["assumed"] == list(model.assumed)
    again = pj.load(tmp_path / "model")
    assert again.clip.config.activation == "quick_gelu"
    image = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
    np.testing.assert_array_equal(
        again.predict(image).logits, model.predict(image, quiet=True).logits
    )
    assert not capsys.readouterr().err


def test_models_without_a_recorded_activation_open(state, tmp_path):
    """Tests models of earlier versions, which assumed "gelu" and recorded it in the sizes only."""
    model = pj.load(bare(state, tmp_path), activation="gelu").zero_shot(["cat", "dog"])
    path = model.save(tmp_path / "model") / saved.MODEL
    content = json.loads(path.read_text())
    content["activation"] = ""
    del content["digest"]
    path.write_text(json.dumps(content))
    assert pj.load(tmp_path / "model").clip.config.activation == "gelu"


@pytest.fixture
def folder(tmp_path):
    """Returns the tiny CLIP as a Hugging Face directory."""
    return tiny.save_clip(tmp_path / "clip")


def test_an_adapter_is_rejected_as_such(folder, tmp_path):
    content = {"peft_type": "LORA", "base_model_name_or_path": "openai/clip-vit-base-patch16\n"}
    (tmp_path / "adapter").mkdir()
    for place in (tmp_path / "adapter", folder):
        (place / "adapter_config.json").write_text(json.dumps(content))
        with pytest.raises(PromptError, match=r"peft adapter \(LORA\) f.*openai/clip.*merge") as e:
            pj.load(place)
        assert "\n" not in str(e.value)
    (folder / "adapter_config.json").write_text('{"peft_type": 3}')
    with pytest.raises(PromptError, match="adapter_config.json: peft_type"):
        loading.load(folder)


def test_a_timm_repository_loads_its_open_clip_weights(state, tmp_path, monkeypatch):
    repository, got, asked = tmp_path / "there", tmp_path / "here", []
    repository.mkdir()
    got.mkdir()
    save_file(state, repository / "open_clip_model.safetensors")
    save_file({"cls_token": np.zeros(3, np.float32)}, repository / "model.safetensors")
    (repository / "config.json").write_text('{"architecture": "vit_base_patch16_clip_224"}')
    open_clip(repository, quick_gelu=True)

    def snapshot_download(hub_id, allow_patterns):
        asked.extend(allow_patterns)
        for path in repository.iterdir():
            if path.name in allow_patterns:
                (got / path.name).write_bytes(path.read_bytes())
        return str(got)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert loading.load("timm/vit_base_patch16_clip_224.openai")[0].activation == "quick_gelu"
    assert "model.safetensors" not in asked
    (repository / "open_clip_config.json").unlink()
    (got / "open_clip_config.json").unlink()
    asked.clear()
    with pytest.raises(PromptError, match="timm/vit: config.json: model_type=None is not"):
        loading.load("timm/vit")
    assert not any("safetensors" in name for name in asked)


def test_weights_with_several_activations_need_no_setting(folder):
    arrays = load_file(folder / "model.safetensors")
    save_file(arrays | {"logit_bias": np.zeros(1, np.float32)}, folder / "model.safetensors")
    with pytest.raises(PromptError, match="SigLIP"):
        loading.load(folder)


def test_a_clip_directory_is_not_reported_as_an_untrained_model(folder, tmp_path):
    (folder / "config.json").write_text('{"model_type": "siglip"}')
    with pytest.raises(PromptError) as caught:
        pj.load(folder)
    assert "model.json" not in str(caught.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(PromptError, match="nor model.json of a trained model"):
        pj.load(tmp_path / "empty")

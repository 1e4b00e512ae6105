"""Checkpoints in every layout give the same CLIP; anything else is rejected."""

import json
import os
import shutil
import warnings
from pathlib import Path

import huggingface_hub
import jax
import needs_torch  # noqa: F401
import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import save_file

from prompt_jax.clip import CLIP, VARIANTS
from prompt_jax.clip.checkpoints.layouts import parameter_shapes
from prompt_jax.clip.loading import load
from prompt_jax.clip.saving import save_hugging_face
from prompt_jax.errors import PromptError

SHARED = Path(os.environ.get("PROMPT_JAX_SHARED", Path(__file__).parents[3] / "shared"))
ORACLE = SHARED / "oracles" / "tiny_a"
VOCABULARY = 49408
TINY = {"image": (16, 8, 128, 2, 2), "text": (64, 3, 1), "embed_dim": 32}


def torch_clip(image, text, embed_dim, activation="quick_gelu"):
    """Returns a random transformers CLIP. The last three sizes are the text tower's."""
    size, patch, *image = image
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads")
    shared = {"hidden_act": activation, "projection_dim": embed_dim}
    special = {"bos_token_id": VOCABULARY - 2, "eos_token_id": VOCABULARY - 1, "pad_token_id": 0}
    config = transformers.CLIPConfig(
        vision_config=dict(zip(names, image, strict=True))
        | {"image_size": size, "patch_size": patch, "intermediate_size": 4 * image[0]}
        | shared,
        text_config=dict(zip(names, text, strict=True))
        | {"vocab_size": VOCABULARY, "intermediate_size": 4 * text[0]}
        | special
        | shared,
        projection_dim=embed_dim,
    )
    torch.manual_seed(0)
    model = transformers.CLIPModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            # Biases start at zero, where a loader that drops them would go unnoticed. Steps of
            # 1/256 pass through float16 and bfloat16 unchanged.
            noise = torch.randn_like(parameter) * 0.05
            parameter.copy_(((parameter + noise) * 256).round().clamp(-256, 256) / 256)
    return model


def openai_state(model):
    """Returns the same weights by OpenAI's names, written independently of the loader."""
    hf = {n: p.detach() for n, p in model.state_dict().items() if "position_ids" not in n}
    state = {
        "logit_scale": hf["logit_scale"],
        "visual.conv1.weight": hf["vision_model.embeddings.patch_embedding.weight"],
        "visual.class_embedding": hf["vision_model.embeddings.class_embedding"],
        "visual.positional_embedding": hf["vision_model.embeddings.position_embedding.weight"],
        "visual.proj": hf["visual_projection.weight"].T,
        "token_embedding.weight": hf["text_model.embeddings.token_embedding.weight"],
        "positional_embedding": hf["text_model.embeddings.position_embedding.weight"],
        "text_projection": hf["text_projection.weight"].T,
    }
    for kind in ("weight", "bias"):
        state[f"visual.ln_pre.{kind}"] = hf[f"vision_model.pre_layrnorm.{kind}"]
        state[f"visual.ln_post.{kind}"] = hf[f"vision_model.post_layernorm.{kind}"]
        state[f"ln_final.{kind}"] = hf[f"text_model.final_layer_norm.{kind}"]
        for ours, theirs, tower in (
            ("visual.transformer", "vision_model", model.config.vision_config),
            ("transformer", "text_model", model.config.text_config),
        ):
            for layer in range(tower.num_hidden_layers):
                new, old = f"{ours}.resblocks.{layer}", f"{theirs}.encoder.layers.{layer}"
                state[f"{new}.attn.in_proj_{kind}"] = torch.cat(
                    [hf[f"{old}.self_attn.{part}_proj.{kind}"] for part in "qkv"]
                )
                for a, b in (
                    ("attn.out_proj", "self_attn.out_proj"),
                    ("mlp.c_fc", "mlp.fc1"),
                    ("mlp.c_proj", "mlp.fc2"),
                    ("ln_1", "layer_norm1"),
                    ("ln_2", "layer_norm2"),
                ):
                    state[f"{new}.{a}.{kind}"] = hf[f"{old}.{b}.{kind}"]
    return {name: tensor.contiguous() for name, tensor in state.items()}


def with_scalars(state):
    sizes = {"input_resolution": 16, "context_length": 77, "vocab_size": VOCABULARY}
    return state | {name: torch.tensor(size) for name, size in sizes.items()}


def torchscript(state, path):
    """Returns an archive like OpenAI's: half-precision weights and integer buffers."""
    root = torch.nn.Module()
    for name, tensor in state.items():
        *parents, last = name.split(".")
        module = root
        for parent in parents:
            if not hasattr(module, parent):
                module.add_module(parent, torch.nn.Module())
            module = getattr(module, parent)
        module.register_buffer(last, tensor.half() if tensor.is_floating_point() else tensor)
    root.forward = lambda x: x
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates TorchScript
        torch.jit.save(torch.jit.trace(root, torch.zeros(1)), path)


def assert_same(left, right):
    jax.tree.map(np.testing.assert_array_equal, left, right)


WIDE_TEXT: dict = {"text": (128, 2, 2), "embed_dim": 128}


@pytest.fixture(scope="module")
def model():
    return torch_clip(**TINY)


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    """Returns the tiny CLIP as saved by transformers 5; tests copy it before changing it."""
    path = tmp_path_factory.mktemp("clip")
    model.save_pretrained(path)
    return path


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("name", VARIANTS)
def test_the_table_of_shapes_matches_the_towers(name):
    config = VARIANTS[name]
    tree = jax.eval_shape(CLIP(config).init, jax.random.key(0))
    towers = {
        "/".join(key.key for key in path): leaf.shape
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
    assert parameter_shapes(config) == towers


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("ViT-B/32", 151_277_313),
        ("ViT-B/16", 149_620_737),
        ("ViT-L/14", 427_616_513),
        ("ViT-L/14@336px", 427_944_193),
        ("ViT-H-14", 986_109_441),
        ("ViT-g-14", 1_366_678_273),
    ],
)
def test_variants_have_the_published_number_of_parameters(name, parameters):
    tree = jax.eval_shape(CLIP(VARIANTS[name]).init, jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(tree)) == parameters


@pytest.mark.parametrize(
    ("sizes", "activation"),
    [
        *(
            pytest.param(sizes, "quick_gelu", marks=pytest.mark.slow)
            for sizes in (
                {"image": (224, 32, 768, 2, 12), "text": (512, 2, 8), "embed_dim": 512},
                {"image": (64, 16, 192, 3, 3), "text": (128, 3, 2), "embed_dim": 96},
                {"image": (56, 14, 256, 4, 4), "text": (192, 2, 3), "embed_dim": 128},
            )
        ),
        # Heads of 80 and 88 features, as in ViT-H and ViT-g.
        pytest.param({"image": (56, 14, 160, 2, 2), **WIDE_TEXT}, "gelu", marks=pytest.mark.slow),
        pytest.param({"image": (56, 14, 176, 2, 2), **WIDE_TEXT}, "gelu", marks=pytest.mark.slow),
        (TINY, "gelu"),
    ],
    ids=["B/32", "B/16-like", "L/14-like", "H/14-like", "g/14-like", "exact-gelu"],
)
def test_features_equal_those_of_transformers(sizes, activation, tmp_path):
    model = torch_clip(**sizes, activation=activation)
    model.save_pretrained(tmp_path)
    config, frozen = load(tmp_path)
    assert config.activation == activation
    rng = np.random.default_rng(0)
    images = rng.normal(size=(2, config.image_size, config.image_size, 3)).astype(np.float32)
    tokens = np.zeros((3, 77), np.int32)
    for row, words in zip(tokens, (2, 5, 75), strict=True):
        row[0] = VOCABULARY - 2
        row[1 : 1 + words] = rng.integers(1, VOCABULARY - 2, words)
        row[1 + words] = VOCABULARY - 1
    with torch.no_grad():
        pixels = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
        image_features = model.visual_projection(model.vision_model(pixels).pooler_output)
        ids = torch.from_numpy(tokens).long()
        text_features = model.text_projection(model.text_model(ids).pooler_output)
    clip = CLIP(config)
    for ours, theirs in (
        (jax.jit(clip.encode_image)(frozen, images), image_features),
        (jax.jit(clip.encode_text)(frozen, tokens), text_features),
    ):
        scale = float(theirs.abs().max())
        np.testing.assert_allclose(ours / scale, theirs.numpy() / scale, rtol=0, atol=1e-5)


def test_every_layout_gives_the_same_parameters(model, folder, tmp_path):
    config, frozen = load(folder)
    openai = openai_state(model)
    text = [n for n in openai if not n.startswith("visual.") and n != "logit_scale"]
    custom = {f"text.{n}" if n in text else n: tensor for n, tensor in openai.items()}
    files = {name: tmp_path / name for name in ("jit.pt", "plain.pt", "half.pt")}
    torchscript(with_scalars(openai), files["jit.pt"])
    torch.save(with_scalars(openai), files["plain.pt"])
    torch.save(
        {"state_dict": {n: t.half() for n, t in with_scalars(openai).items()}}, files["half.pt"]
    )
    for path in files.values():
        assert load(path)[0] == config
        assert_same(load(path)[1], frozen)

    files = {name: tmp_path / name for name in ("root.safetensors", "custom.bin", "training.pt")}
    save_file({n: t.bfloat16() for n, t in openai.items()}, files["root.safetensors"])
    torch.save(custom, files["custom.bin"])
    training = {f"module.{n}": t for n, t in openai.items()}
    torch.save({"epoch": 3, "name": "run", "state_dict": training}, files["training.pt"])
    for path in files.values():
        with pytest.raises(
            PromptError, match="does not state the activation .*--config.activation"
        ):
            load(path)
        assert load(path, activation="gelu")[0].activation == "gelu"
        assert load(path, activation="quick_gelu")[0] == config
        assert_same(load(path, "gelu")[1], frozen)


@pytest.mark.parametrize("quick", [True, False])
def test_open_clip_directories_state_their_activation(quick, model, folder, tmp_path):
    settings = {
        "embed_dim": 32,
        "quick_gelu": quick,
        "vision_cfg": {"image_size": 16, "layers": 2, "width": 128, "patch_size": 8},
        "text_cfg": {"context_length": 77, "width": 64, "heads": 1, "layers": 3},
    }
    settings["vision_cfg"]["head_width"] = 32
    content = {"model_cfg": settings, "preprocess_cfg": {}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(content))
    (tmp_path / "config.json").write_text('{"architecture": "vit_base_patch32"}')
    torch.save(openai_state(model), tmp_path / "open_clip_pytorch_model.bin")
    config, frozen = load(tmp_path)
    assert config.activation == ("quick_gelu" if quick else "gelu")
    assert (config.image_heads, config.text_heads) == (4, 1)
    assert_same(frozen, load(folder)[1])


def test_variants_of_hugging_face_files_and_configs(model, folder, tmp_path):
    config, frozen = load(folder)
    state = {n: t.detach() for n, t in model.state_dict().items()}
    # transformers 4: buffers in the weights, parts that equal the defaults left out.
    state["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    names = sorted(state)
    shards = {"pytorch_model-1.bin": names[::2], "pytorch_model-2.bin": names[1::2]}
    for shard, content in shards.items():
        torch.save({n: state[n] for n in content}, tmp_path / shard)
    index = {"weight_map": {n: shard for shard, content in shards.items() for n in content}}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    shutil.copy(folder / "config.json", tmp_path)

    def as_transformers_4(content):
        content["text_config_dict"] = content.pop("text_config")
        content["vision_config_dict"] = None
        del content["text_config_dict"]["max_position_embeddings"]
        del content["vision_config"]["hidden_act"]

    edit(tmp_path / "config.json", as_transformers_4)
    assert load(tmp_path)[0] == config
    assert_same(load(tmp_path)[1], frozen)
    (tmp_path / "pytorch_model-2.bin").unlink()
    with pytest.raises(PromptError, match="shards that are missing: pytorch_model-2.bin"):
        load(tmp_path)
    model.save_pretrained(tmp_path / "sharded", max_shard_size="10MB")
    assert (tmp_path / "sharded" / "model.safetensors.index.json").exists()
    assert_same(load(tmp_path / "sharded")[1], frozen)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_saved_checkpoints_load_here_and_in_transformers(dtype, model, folder, tmp_path):
    config, frozen = load(folder)
    save_hugging_face(config, frozen, tmp_path / "saved", dtype)
    again, tree = load(tmp_path / "saved")
    assert again == config
    assert_same(tree, frozen)  # the fixture's weights fit into half precision
    loaded, report = transformers.CLIPModel.from_pretrained(
        tmp_path / "saved", dtype=torch.float32, output_loading_info=True
    )
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    for (name, ours), theirs in zip(
        loaded.state_dict().items(), model.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs), name
    with pytest.raises(PromptError, match="already holds config.json, model.safetensors"):
        save_hugging_face(config, frozen, tmp_path / "saved")
    save_hugging_face(config, frozen, tmp_path / "saved", overwrite=True)


@pytest.mark.skipif(not ORACLE.is_dir(), reason="the reference vectors are not on this machine")
def test_reference_checkpoints_and_features():
    config, frozen = load(ORACLE / "clip.pt")
    other, tree = load(ORACLE / "clip.safetensors")
    assert config == other
    assert_same(frozen, tree)
    inputs, expected = np.load(ORACLE / "inputs.npz"), np.load(ORACLE / "zero_shot.npz")
    clip = CLIP(config)
    image = jax.jit(clip.encode_image)(frozen, inputs["images"].transpose(0, 2, 3, 1))
    text = jax.jit(clip.encode_text)(frozen, inputs["tokens_photo"])
    np.testing.assert_allclose(image, expected["image_features"], atol=1e-5)
    np.testing.assert_allclose(text, expected["text_features"], atol=1e-5)


def test_hub_models_are_downloaded_in_one_format_or_rejected(folder, monkeypatch):
    asked = []

    def snapshot_download(hub_id, allow_patterns):
        asked.append((hub_id, allow_patterns))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert load("ViT-B/16")[0] == load(folder)[0]
    assert {hub_id for hub_id, _ in asked} == {"openai/clip-vit-base-patch16"}
    assert {"config.json", "open_clip_config.json"} <= set(asked[0][1])
    assert [patterns for _, patterns in asked[1:]] == [["model.safetensors"]]

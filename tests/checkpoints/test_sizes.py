"""The larger variants are open_clip's; checkpoints of their proportions are read."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from prompt_jax.clip import CLIP, VARIANTS, CLIPConfig
from prompt_jax.clip.checkpoints.layouts import from_tree, openai_layout
from prompt_jax.clip.loading import load
from prompt_jax.clip.saving import save_hugging_face
from prompt_jax.errors import PromptError

# As open_clip publishes them (src/open_clip/model_configs); mlp_ratio is 4 where it is absent.
PUBLISHED = {
    "ViT-L/14": (768, (224, 24, 1024, 64, 4), (768, 12, 12)),
    "ViT-L/14@336px": (768, (336, 24, 1024, 64, 4), (768, 12, 12)),
    "ViT-H-14": (1024, (224, 32, 1280, 80, 4), (1024, 16, 24)),
    "ViT-g-14": (1024, (224, 40, 1408, 88, 4.3637), (1024, 16, 24)),
}
# Two heads of 80 and 88 features, and the MLP of the original's ratio.
SMALL = {"ViT-H-14": (160, 640, 4.0), "ViT-g-14": (176, 768, 4.3637)}


@pytest.mark.parametrize("name", PUBLISHED)
def test_variants_are_those_of_open_clip(name):
    embed_dim, (size, layers, width, head_width, ratio), text = PUBLISHED[name]
    c = VARIANTS[name]
    assert (c.image_size, c.patch_size, c.embed_dim) == (size, 14, embed_dim)
    assert (c.image_layers, c.image_width, c.image_mlp) == (layers, width, int(width * ratio))
    assert c.image_heads == width // head_width
    assert (c.text_width, c.text_heads, c.text_layers) == text
    assert (c.text_mlp, c.context_length, c.vocab_size) == (4 * c.text_width, 77, 49408)
    assert c.activation == ("gelu" if name in SMALL else "quick_gelu")


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("scan", [False, True])
def test_both_towers_of_every_variant_have_their_shapes(name, scan):
    config = VARIANTS[name]
    clip = CLIP(config, scan_layers=scan)
    frozen = jax.eval_shape(lambda: clip.arrange(clip.init(jax.random.key(0))))
    images = jax.ShapeDtypeStruct((2, config.image_size, config.image_size, 3), np.float32)
    tokens = jax.ShapeDtypeStruct((3, config.context_length), np.int32)
    assert jax.eval_shape(clip.encode_image, frozen, images).shape == (2, config.embed_dim)
    assert jax.eval_shape(clip.encode_text, frozen, tokens).shape == (3, config.embed_dim)


@pytest.mark.parametrize("name", SMALL)
def test_small_checkpoints_are_the_same_in_both_layouts(name, tmp_path):
    config, frozen = small(name)
    save_hugging_face(config, frozen, tmp_path / "hugging_face")
    save_open_clip(config, frozen, tmp_path / "open_clip", *SMALL[name])
    for layout in ("hugging_face", "open_clip"):
        found, parameters = load(tmp_path / layout)
        assert found == config
        assert jax.tree.all(jax.tree.map(np.array_equal, parameters, frozen))


@pytest.mark.parametrize("name", SMALL)
def test_weights_alone_do_not_state_unusual_heads(name, tmp_path):
    config, frozen = small(name)
    save_open_clip(config, frozen, tmp_path, *SMALL[name])
    weights = tmp_path / "open_clip_model.safetensors"
    with pytest.raises(PromptError, match=r"is not divisible by the head width 64; put the model"):
        load(weights.rename(tmp_path.parent / f"{name}.safetensors"), activation="gelu")


def small(name: str) -> tuple[CLIPConfig, dict]:
    """Returns a random CLIP with the proportions of a variant."""
    width, mlp, _ = SMALL[name]
    config = CLIPConfig(
        image_size=28,
        patch_size=14,
        image_width=width,
        image_layers=2,
        image_heads=2,
        image_mlp=mlp,
        text_width=64,
        text_layers=2,
        text_heads=1,
        text_mlp=256,
        embed_dim=32,
        activation="gelu",
    )
    shapes = jax.eval_shape(CLIP(config).init, jax.random.key(0))
    rng = np.random.default_rng(0)

    def draw(leaf):
        return rng.normal(size=leaf.shape).astype(np.float32)

    return config, jax.tree.map(draw, shapes)


def save_open_clip(config: CLIPConfig, frozen: dict, folder: Path, width: int, mlp: int, ratio):
    """Writes a checkpoint as open_clip publishes it on the hub."""
    vision = {"image_size": 28, "layers": 2, "width": width, "patch_size": 14}
    vision |= {"head_width": width // 2, "mlp_ratio": ratio}
    text = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2}
    sizes = {"embed_dim": 32, "vision_cfg": vision, "text_cfg": text}
    folder.mkdir(exist_ok=True)
    content = {"model_cfg": sizes, "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    assert int(width * ratio) == mlp
    state = from_tree(openai_layout(2, 2), frozen)
    arrays = {key: np.ascontiguousarray(array) for key, array in state.items()}
    save_file(arrays, folder / "open_clip_model.safetensors")

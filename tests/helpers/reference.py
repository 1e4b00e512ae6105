"""The tiny CLIP and the published methods' figures on it, from tests/fixtures/tiny_a."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from prompt_jax.clip import CLIP, CLIPConfig, Frozen, normalize

FOLDER = Path(__file__).parents[1] / "fixtures" / "tiny_a"
CONFIG = CLIPConfig(
    image_size=32,
    patch_size=8,
    image_width=64,
    image_layers=3,
    image_heads=1,
    image_mlp=256,
    text_width=64,
    text_layers=4,
    text_heads=1,
    text_mlp=256,
    embed_dim=32,
)
TINY = CLIP(CONFIG)


def _load_weights() -> Frozen:
    with np.load(FOLDER / "weights.npz") as arrays:
        flat = {key: np.asarray(arrays[key], np.float32) for key in arrays}
        rows = arrays["token_rows"]
    del flat["token_rows"]
    table = np.zeros((CONFIG.vocab_size, CONFIG.text_width), np.float32)
    table[rows] = flat["text/token_embedding"]
    flat["text/token_embedding"] = table
    return jax.tree.map(jnp.asarray, flax.traverse_util.unflatten_dict(flat, sep="/"))


def _load_figures() -> dict[str, dict[str, np.ndarray]]:
    with np.load(FOLDER / "figures.npz") as arrays:
        flat = {tuple(key.split("/")): arrays[key] for key in arrays}
    for path in (FOLDER / "more").glob("*.npz"):
        with np.load(path) as arrays:
            flat |= {(path.stem, key): arrays[key] for key in arrays}
    return flax.traverse_util.unflatten_dict(flat)


FROZEN = _load_weights()
FIGURES = _load_figures()
CLASSES: list[str] = FIGURES["inputs"]["classes"].tolist()
TEXTS: dict[str, Any] = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in (FOLDER / "more").glob("*.json")
}
"""The content of each method's file of texts, in its published layout."""
BATCH = {
    "image": jnp.asarray(FIGURES["inputs"]["images"]),
    "label": jnp.asarray(FIGURES["inputs"]["labels"]),
}


def in_views(batch: dict[str, Any], number: int) -> dict[str, Any]:
    """Returns a batch with an axis of views: the images, and what quarter turns make of them."""
    if not number:
        return batch
    turned = [np.rot90(np.asarray(batch["image"]), n, (-3, -2)) for n in range(number)]
    return {**batch, "image": jnp.stack(turned, axis=1)}


def random_clip(dtype: str = "float32", **sizes: Any) -> tuple[CLIP, Frozen]:
    """Returns a random CLIP of 3 + 3 narrow layers; all biases and scales differ from the defaults.

    Args:
        dtype: compute type.
        sizes: `CLIPConfig` fields to change.
    """
    config = CLIPConfig(
        image_size=16,
        patch_size=4,
        image_width=32,
        image_layers=3,
        image_heads=2,
        image_mlp=64,
        text_width=32,
        text_layers=3,
        text_heads=2,
        text_mlp=64,
        embed_dim=16,
        vocab_size=64,
    )
    clip = CLIP(dataclasses.replace(config, **sizes), jnp.dtype(dtype))
    rng = np.random.default_rng(0)

    def draw(path, shape):
        noise = rng.standard_normal(shape.shape, np.float32)
        match path[-1].key:
            case "scale":
                return jnp.asarray(1 + 0.1 * noise)
            case "kernel":
                return jnp.asarray(noise / np.sqrt(np.prod(shape.shape[:-1])))
            case "logit_scale":
                return jnp.log(jnp.float32(10))
            case _:
                return jnp.asarray(0.2 * noise)

    return clip, jax.tree_util.tree_map_with_path(
        draw, jax.eval_shape(clip.init, jax.random.key(0))
    )


def largest_difference(a: Any, b: Any) -> float:
    """Returns the largest absolute difference between two pytrees of arrays."""
    gaps = jax.tree.map(lambda x, y: float(np.abs(np.asarray(x) - np.asarray(y)).max()), a, b)
    return max(jax.tree.leaves(gaps))


def relative_difference(a: Any, b: Any) -> float:
    """Returns the largest difference of two pytrees, relative to each array's largest entry."""
    gaps = jax.tree.map(lambda x, y: largest_difference(x, y) / float(np.abs(y).max()), a, b)
    return max(jax.tree.leaves(gaps))


def adapt(method: Any, prompts: Any, task: Any, features: Any, labels: Any) -> Any:
    """Returns the result of `Adaptation.make`; other images stand in for captions."""
    more: tuple[Any, ...] = ()
    if method.adaptation.captions:
        more = (normalize(jnp.asarray(features, jnp.float32)[0, ::-1]),)
    return method.adaptation.make(prompts, task, features, labels, *more)

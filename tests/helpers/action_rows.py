"""Methods of action recognition under test: settings, expected figures, arrays."""

from collections.abc import Callable
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from reference import BATCH, CLASSES, FOLDER, FROZEN, TEXTS, TINY
from reference import FIGURES as OF_METHODS
from video_rows import CAPTIONS, FRAMES, VIDEOS, VideoRow

from prompt_jax import methods
from prompt_jax.clip.packing import pack_captions
from prompt_jax.clip.vocabulary.captions import tokenize_captions
from prompt_jax.methods.video import (
    a5,
    clip_video,
    ez_clip,
    m2clip,
    vifi_clip,
    vifi_vl_prompting,
    vilt_clip,
    vilt_independent,
    vilt_multimodal,
)
from prompt_jax.text import text_files


def _load_figures() -> dict[str, dict[str, Any]]:
    with np.load(FOLDER / "actions.npz") as arrays:
        flat = {tuple(key.split("/")): arrays[key] for key in arrays}
    figures = flax.traverse_util.unflatten_dict(flat)
    figures["vilt_clip"]["param"] = figures["vilt_multimodal"]["param"]
    figures["vilt_clip_retrieval"]["param"] = figures["vilt_retrieval"]["param"]
    figures["ez_clip"] = _by_our_names("ez_clip", ez_clip_tree)
    for name in ("m2clip", "m2clip_both", "m2clip_mlm"):
        figures[name] = _by_our_names(name, m2clip_tree)
    return figures


def _by_our_names(name: str, tree: Callable) -> dict[str, Any]:
    flat = OF_METHODS[name]
    figures = {key: array for key, array in flat.items() if "." not in key}
    for kind in ("param", "grad", "sgd3", "adamw3"):
        if any(key.startswith(f"{kind}.") for key in flat):
            figures[kind] = tree(lambda key, kind=kind: flat[f"{kind}.{key}"])
    return figures


def ez_clip_tree(array: Callable) -> dict[str, Any]:
    """Returns EZ-CLIP's arrays by our names; PyTorch's linear weights are [out, in]."""

    def linear(tower, layers, name):
        weight, bias = (
            np.stack([array(f"{tower}.{layer}.{name}_{part}") for layer in range(layers)])
            for part in ("weight", "bias")
        )
        return {"kernel": weight.swapaxes(1, 2), "bias": bias}

    towers = {"image": ("vision", TINY.config.image_layers), "text": ("text", 4)}
    return {"temporal_prompts": array("temporal_prompts")} | {
        ours: {"down": linear(*theirs, "fc1"), "up": linear(*theirs, "fc2")}
        for ours, theirs in towers.items()
    }


def m2clip_tree(array: Callable) -> dict[str, Any]:
    """Returns M²-CLIP's arrays by our names."""

    def linear(name):
        return {"kernel": array(f"{name}.weight").T, "bias": array(f"{name}.bias")}

    def bottleneck(name, start="", conv=True):
        layers = {"down": linear(f"{name}.{start}fc1"), "up": linear(f"{name}.{start}fc2")}
        if not conv:
            return layers
        kernel = array(f"{name}.conv.weight")  # [hidden, 1, …]
        kernel = kernel.reshape(len(kernel), *[n for n in kernel.shape[1:] if n > 1])
        kernel = np.moveaxis(kernel, 0, -1)
        return layers | {"conv": {"kernel": kernel, "bias": array(f"{name}.conv.bias")}}

    def of_image(name):
        return bottleneck(name) | {"difference": bottleneck(f"{name}.offset_adapter")}

    def of_text(name):
        return bottleneck(name, "textad_", conv=False)

    def of_layers(tower, numbers, find):
        found = {}
        for ours, theirs in PLACES.items():
            names = [f"{tower}transformer.resblocks.{n}.{theirs}" for n in numbers]
            try:
                trees = [find(name) for name in names]
            except KeyError:  # only the setting for Something-Something has both
                continue
            found[ours] = jax.tree.map(lambda *x: np.stack(x), *trees)
        return found

    def words():
        text = {"before_mlp": of_text("mlm_block.adapter_pre_mlp")}
        scale, bias = (array(f"mlm_adapter.transform.LayerNorm.{n}") for n in ("weight", "bias"))
        kernel = array("mlm_adapter.decoder.weight").T
        return text | {
            "dense": linear("mlm_adapter.transform.dense"),
            "norm": {"scale": scale, "bias": bias},
            "decoder": {"kernel": kernel, "bias": array("mlm_adapter.bias")},
        }

    try:
        more = {"words": words()}
    except KeyError:  # without masked words
        more = {}
    return more | {
        "image": of_layers("visual.", range(3), of_image),
        "text": of_layers("", range(4), of_text) or of_layers("", [3], of_text),
        "frames": bottleneck("visual.t_adapter"),
        "head": linear("visual.adapter_fc"),
    }


PLACES = {"before_attention": "adapter_pre_attn", "before_mlp": "adapter_pre_mlp"}
FIGURES = _load_figures()
TWO: dict[str, Any] = {"prompts": 2}
VECTORS: dict[str, Any] = {"prefix_prompts": 2, "postfix_prompts": 2, "temporal_heads": 2}
ROWS = [
    VideoRow("clip_video", clip_video.Settings(), "clip_video"),
    VideoRow(
        "vilt_independent",
        vilt_independent.Settings(text_prompts=2, vision_prompts=3),
        "vilt_independent",
    ),
    *(
        VideoRow("vilt_multimodal", vilt_multimodal.Settings(**TWO, **changed), figures)
        for figures, changed in {
            "vilt_multimodal": {},
            "vilt_multimodal_k2": {"coupling_layer": 2},
            "vilt_multimodal_j2": {"depth": 2},
            "vilt_multimodal_per_layer": {"shared_maps": False},
            "vilt_retrieval": {},
        }.items()
    ),
    VideoRow("vilt_clip", vilt_clip.Settings(**TWO), "vilt_clip"),
    VideoRow("vilt_clip", vilt_clip.Settings(**TWO), "vilt_clip_retrieval"),
    VideoRow("vifi_clip", vifi_clip.Settings(), "vifi_clip"),
    VideoRow("ez_clip", ez_clip.Settings(frames=FRAMES), "ez_clip"),
    VideoRow("m2clip", m2clip.Settings(hidden=16, head_dropout=0.0), "m2clip"),
    VideoRow(
        "m2clip",
        m2clip.Settings(hidden=16, head_dropout=0.0, places="both", text_layers="all"),
        "m2clip_both",
    ),
    VideoRow(
        "vifi_vl_prompting",
        vifi_vl_prompting.Settings(text_prompts=5, vision_prompts=4, text_depth=3, vision_depth=2),
        "vifi_vl_prompting",
    ),
    *(
        VideoRow("a5", a5.Settings(**VECTORS, frames=FRAMES, **changed), figures)
        for figures, changed in {
            "a5_text": {"temporal_blocks": 0},
            "a5_text_shared_postfix": {"temporal_blocks": 0, "postfix": "shared"},
            "a5_temporal1": {"temporal_blocks": 1},
            "a5_temporal2": {},
        }.items()
    ),
]
BY_FIGURES = {row.figures: row for row in ROWS}


def method_of(row: VideoRow) -> methods.Method:
    """Returns the row's encoders on class names, or on captions."""
    of_captions = row.figures.endswith("retrieval")
    return (methods.retrieve if of_captions else methods.recognize)(
        methods.get_encoders(row.method)
    )


def task_of(row: VideoRow, settings: Any = None) -> methods.Task:
    """Returns the row's task on the six classes or the captions, with its settings or others."""
    method = method_of(row)
    names = () if method.objective == "pairs" else CLASSES
    content = TEXTS.get(row.method)
    texts = text_files.from_content(content, method.texts) if method.texts else None
    settings = settings or row.settings
    return methods.make_task(method, TINY, FROZEN, names, settings, texts=texts)


def prompts_of(row: VideoRow) -> methods.Prompts:
    """Returns the parameters that the row's figures were computed with."""
    if "param" in FIGURES[row.figures]:
        return jax.tree.map(jnp.asarray, FIGURES[row.figures]["param"])
    return methods.get_encoders(row.method).init(jax.random.key(0), task_of(row))


def batch_of(row: VideoRow) -> dict[str, Any]:
    """Returns three videos with their classes or captions."""
    if method_of(row).objective != "pairs":
        labels = FIGURES[row.figures].get("video_labels", BATCH["label"])
        return {"image": VIDEOS, "label": jnp.asarray(labels)}
    prompts = methods.get_encoders(row.method).text_prompts(row.settings)
    tokens = tokenize_captions(CAPTIONS, prompts).tokens
    return {"image": VIDEOS, "text": pack_captions(tokens), "label": jnp.arange(len(VIDEOS))}

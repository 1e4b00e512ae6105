"""Image methods under test: settings, expected figures, and our names of arrays."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from reference import BATCH, CLASSES, FIGURES, FROZEN, TEXTS, TINY

from prompt_jax import methods
from prompt_jax.methods.images import (
    biomedcoop,
    clip_adapter,
    cocoop,
    coop,
    description,
    gopro,
    ivlp,
    kgcoop,
    maple,
    mocoop,
    perception_clip,
    pro_mpt,
    vpt,
    zero_shot,
)
from prompt_jax.text import text_files


def no_tree(array):
    """Returns an empty tree, as nothing trains."""
    del array
    return {}


def coop_tree(array):
    """Returns CoOp's arrays by our names."""
    return {"context": array("ctx")}


def cocoop_tree(array):
    """Returns CoCoOp's arrays by our names; PyTorch's linear weights are [out, in]."""

    def linear(name):
        return {
            "kernel": array(f"meta_{name}_weight").T,
            "bias": array(f"meta_{name}_bias"),
        }

    return {"context": array("ctx"), "meta_net": {n: linear(n) for n in ("linear1", "linear2")}}


def pro_mpt_tree(array):
    """Returns ProMPT's arrays by our names."""

    def generator(name):
        return {
            f"linear{i}": {"kernel": array(f"{name}_W{i}"), "bias": array(f"{name}_b{i}")}
            for i in (1, 2)
        }

    return {
        "context": array("P0"),
        "vision": array("O0"),
        "vision_generator": generator("GV"),
        "text_generator": generator("GT"),
    }


def vpt_tree(array):
    """Returns VPT's arrays by our names."""
    return {"vision": array("vision_prompts")}


def ivlp_tree(array):
    """Returns IVLP's arrays by our names."""
    return {"text": array("text_prompts"), "vision": array("vision_prompts")}


def maple_tree(array):
    """Returns MaPLe's arrays by our names; PyTorch's linear weights are [out, in]."""
    return {
        "context": array("ctx"),
        "deep_context": array("deep_text_prompts"),
        "projection": {
            "kernel": array("proj_weight").transpose(0, 2, 1),
            "bias": array("proj_bias"),
        },
    }


def clip_adapter_tree(array):
    """Returns CLIP-Adapter's arrays by our names; PyTorch's linear weights are [out, in]."""
    return {"linear1": array("fc1_weight").T, "linear2": array("fc2_weight").T}


def mocoop_tree(array):
    """Returns MoCoOp's arrays by our names; PyTorch's linear weights are [out, in]."""
    vectors = ("before_0", "before_1", "before_2", "after_2", "before_3")
    return {
        **{name: array(f"ctx_{name}") for name in vectors},
        "router": {"kernel": array("gate_weight").T, "bias": array("gate_bias")},
        "shift": array("w")[0],
    }


def gopro_tree(array):
    """Returns GOPro's arrays by our names; the meta-net, which is never used, is zero."""

    def linear(name):
        return {"kernel": array(f"{name}_weight").mT, "bias": array(f"{name}_bias")}

    normalization = {"scale": array("bn_weight"), "offset": array("bn_bias")}
    return {
        "context": array("ctx"),
        "style": linear("style"),
        "content": linear("content"),
        "mix": linear("rho"),
        "projector": linear("proj") | normalization,
        "meta_net": {
            "linear1": {"kernel": jnp.zeros((32, 2)), "bias": jnp.zeros(2)},
            "linear2": {"kernel": jnp.zeros((2, 64)), "bias": jnp.zeros(64)},
        },
    }


class Row(NamedTuple):
    """A method, settings, the expected figures, our names of its arrays, its texts of classes.

    Of the arrays in `noise`, the figures of gradients and steps are rounding errors or small beside
    them.
    """

    method: str
    settings: Any
    figures: str
    tree: Callable
    texts: Any = None
    noise: tuple[str, ...] = ()


TINY_PRO_MPT: dict[str, Any] = {"iterations": 2, "vision_prompts": 3, "vision_depth": 2}
ROWS = [
    Row("zero_shot", zero_shot.Settings(), "zero_shot", no_tree),
    Row("coop", coop.Settings(context_length=4), "coop", coop_tree),
    Row("cocoop", cocoop.Settings(), "cocoop", cocoop_tree),
    Row("pro_mpt", pro_mpt.Settings(**TINY_PRO_MPT), "pro_mpt", pro_mpt_tree),
    *(
        Row("pro_mpt", settings, figures, pro_mpt_tree)
        for figures, settings in {
            "pro_mpt_lambda05": pro_mpt.Settings(**TINY_PRO_MPT, loss_decay=0.5),
            "pro_mpt_stop_z": pro_mpt.Settings(**TINY_PRO_MPT, stop_gradient="features"),
            "pro_mpt_stop_all": pro_mpt.Settings(**TINY_PRO_MPT, stop_gradient="all"),
        }.items()
    ),
    *(
        Row("coop", settings, figures, coop_tree)
        for figures, settings in {
            "coop_csc": coop.Settings(context_length=3, class_specific=True),
            "coop_middle": coop.Settings(context_length=4, name_position="middle"),
            "coop_front": coop.Settings(context_length=4, name_position="front"),
        }.items()
    ),
    Row("vpt", vpt.Settings(vision_prompts=4, vision_depth=1), "vpt_shallow", vpt_tree),
    Row("vpt", vpt.Settings(vision_prompts=4, vision_depth=3), "vpt_deep", vpt_tree),
    Row("ivlp", ivlp.Settings(text_prompts=4, vision_prompts=4, depth=3), "ivlp", ivlp_tree),
    Row("maple", maple.Settings(depth=3), "maple", maple_tree),
    Row("kgcoop", kgcoop.Settings(), "kgcoop", coop_tree),
    Row("clip_adapter", clip_adapter.Settings(), "clip_adapter", clip_adapter_tree),
    Row(
        "description",
        description.Settings(full_stop=True),
        "description",
        no_tree,
        TEXTS["description"],
    ),
    Row(
        "biomedcoop",
        biomedcoop.Settings(consistency_weight=10.0, distillation_weight=1.0),
        "biomedcoop",
        coop_tree,
        TEXTS["biomedcoop"],
    ),
    Row(
        "perception_clip",
        perception_clip.Settings(),
        "perception_clip",
        no_tree,
        TEXTS["perception_clip"],
    ),
    Row(
        "gopro",
        gopro.Settings(),
        "gopro",
        gopro_tree,
        noise=("mix.bias", "projector", "meta_net"),
    ),
    Row(
        "mocoop",
        mocoop.Settings(
            templates=tuple(TEXTS["mocoop"]["prompts"]), groups=tuple(TEXTS["mocoop"]["groups"])
        ),
        "mocoop",
        mocoop_tree,
    ),
]
BY_FIGURES = {row.figures: row for row in ROWS}


def arrays(row, kind):
    """Returns the pytree of a row's "param", "grad" or "sgd3"."""
    return row.tree(lambda name: jnp.asarray(FIGURES[row.figures][f"{kind}.{name}"]))


def task_of(row):
    """Returns the row's task on the six classes of the figures."""
    method = methods.get(row.method)
    texts = text_files.from_content(row.texts, method.texts) if method.texts else None
    return methods.make_task(method, TINY, FROZEN, CLASSES, row.settings, texts=texts)


def batch_of(row):
    """Returns the batch of the figures; for a method with views, these and the figures' views."""
    views = [FIGURES[row.figures][f"view{n}"] for n in range(1, len(methods.get(row.method).views))]
    if not views:
        return BATCH
    return {**BATCH, "image": jnp.stack([BATCH["image"], *views], axis=1)}


def without_noise(row, tree):
    """Returns a pytree without the arrays in the row's `noise`."""
    kept = {}
    for name, part in tree.items():
        if name not in row.noise:
            kept[name] = part
            if isinstance(part, dict):
                kept[name] = {k: x for k, x in part.items() if f"{name}.{k}" not in row.noise}
    return kept

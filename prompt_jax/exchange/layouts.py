"""Maps prompts between the reference implementations' state dicts and our pytrees.

CoOp and CoCoOp save the trained module; MaPLe saves the whole model, whose frozen CLIP is ignored.
Source of the names: KaiyangZhou/CoOp and muzairkhattak/multimodal-prompt-learning.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.traverse_util
import numpy as np

from prompt_jax.clip import CLIPConfig
from prompt_jax.errors import PromptError

State = dict[str, np.ndarray]

TOKENS = ("token_prefix", "token_suffix")
"""The embedded words of the classes. The reference recomputes them when it loads a file."""

_LEARNER = "prompt_learner."
_ELSEWHERE = "VPT"  # in the names of prompts that other methods train inside the towers
_COMPOUND = re.compile(r"compound_prompts_text\.(0|[1-9]\d{0,3})")
_MOST_SHOWN = 5


class Layout(NamedTuple):
    """The checkpoint layout of a method's reference implementation.

    Attributes:
        trainer: its name in Dassl; in capitals, the section of its options.
        folder: Dassl's subdirectory for the saved module: `model-dir/folder/model.pth.tar-N`.
        prefix: of every name in the file.
    """

    trainer: str
    folder: str
    prefix: str = ""


LAYOUTS = {
    "coop": Layout("CoOp", "prompt_learner"),
    "cocoop": Layout("CoCoOp", "prompt_learner"),
    "maple": Layout("MaPLe", "MultiModalPromptLearner", _LEARNER),
}


class Entry(NamedTuple):
    """An array of the file and its place in the pytree.

    Attributes:
        name: in the file, without the prefix.
        path: in the pytree, keys joined by full stops.
        row: index along the first axis of a stacked array; None if the array is not stacked.
        transposed: whether it is a linear layer's weight, [out, in] in the file and [in, out] here.
    """

    name: str
    path: str
    row: int | None = None
    transposed: bool = False


def entries(method: str, depth: int) -> list[Entry]:
    """Returns the trained arrays in the order of the reference's state dict; `depth`: MaPLe's J."""
    context = Entry("ctx", "context")
    if method == "coop":
        return [context]
    if method == "cocoop":
        layers = ("meta_net.linear1", "meta_net.linear2")
        return [context, *(entry for layer in layers for entry in _linear(layer, layer))]
    deep = range(depth - 1)
    projections = [f"compound_prompt_projections.{n}" for n in deep]
    return [
        context,
        *_linear("proj", "projection", 0),
        *(Entry(f"compound_prompts_text.{n}", "deep_context", n) for n in deep),
        *(e for n in deep for e in _linear(projections[n], "projection", n + 1)),
    ]


def _linear(name, path, row=None):
    return [
        Entry(f"{name}.weight", f"{path}.kernel", row, transposed=True),
        Entry(f"{name}.bias", f"{path}.bias", row),
    ]


def find_learner(state: Mapping[str, np.ndarray]) -> State:
    """Returns the arrays of the prompt learner, by their names in it.

    Raises:
        PromptError: there are also prompts outside it, which belong to another method.
    """
    if not any(name.startswith(_LEARNER) for name in state):
        return dict(state)
    inside = {n.removeprefix(_LEARNER): a for n, a in state.items() if n.startswith(_LEARNER)}
    outside = [n for n in state if not n.startswith(_LEARNER) and _ELSEWHERE in n]
    if outside:
        raise PromptError(
            f"it also has prompts {_listed(outside)}, which none of {', '.join(LAYOUTS)} has: it "
            "belongs to another method"
        )
    return inside


def find_method(learner: Mapping[str, np.ndarray]) -> str:
    """Returns the method that the arrays belong to.

    Raises:
        PromptError: they belong to none.
    """
    if "ctx" not in learner:
        raise PromptError(
            f"it holds {_listed(list(learner))}, but no ctx, the context of {', '.join(LAYOUTS)}; "
            "pass DIR/prompt_learner/model.pth.tar-N, or for MaPLe "
            "DIR/MultiModalPromptLearner/model.pth.tar-N"
        )
    if any(name.startswith("meta_net.") for name in learner):
        return "cocoop"
    if any(name.startswith(("proj.", "compound_prompt")) for name in learner):
        return "maple"
    return "coop"


def find_depth(learner: Mapping[str, np.ndarray]) -> int:
    """Returns MaPLe's J: one for the context, and one for each compound prompt."""
    return 1 + sum(_COMPOUND.fullmatch(name) is not None for name in learner)


def to_prompts(method: str, learner: State, sizes: CLIPConfig, backbone: str) -> dict[str, Any]:
    """Converts a prompt learner's arrays to the method's pytree, float32.

    Args:
        method: one of `LAYOUTS`.
        learner: from `find_learner`.
        sizes, backbone: architecture and name of the CLIP that the prompts were trained on.

    Raises:
        PromptError: an array is missing, unexpected, misshapen or not finite.
    """
    depth = find_depth(learner)
    wanted = entries(method, depth)
    _check_names(method, learner, [entry.name for entry in wanted])
    _check_depth(depth, sizes)
    _check_shapes(learner, wanted, sizes, backbone)
    stacks: dict[str, list[np.ndarray]] = {}
    for entry in wanted:
        array = _as_float32(entry.name, learner[entry.name])
        stacks.setdefault(entry.path, []).append(array.T if entry.transposed else array)
    stacked = {entry.path for entry in wanted if entry.row is not None}
    flat = {
        path: np.stack(arrays) if path in stacked else arrays[0] for path, arrays in stacks.items()
    }
    if method == "maple" and depth == 1:
        flat["deep_context"] = np.zeros((0, *learner["ctx"].shape), np.float32)
    arrays = {path: np.ascontiguousarray(array) for path, array in flat.items()}
    return flax.traverse_util.unflatten_dict(arrays, sep=".")


def from_prompts(method: str, prompts: Mapping[str, Any]) -> State:
    """Converts a method's pytree to arrays with the reference's names, without prefix."""
    flat = flax.traverse_util.flatten_dict(dict(prompts), sep=".")
    depth = 1 + len(flat.get("deep_context", ()))
    found = {}
    for entry in entries(method, depth):
        array = np.asarray(flat[entry.path])
        array = array if entry.row is None else array[entry.row]
        found[entry.name] = np.ascontiguousarray(array.T if entry.transposed else array)
    return found


def _check_names(method, learner, wanted):
    missing = [name for name in wanted if name not in learner]
    unexpected = [name for name in learner if name not in {*wanted, *TOKENS}]
    if missing or unexpected:
        parts = [f"lacks {_listed(missing)}"] if missing else []
        parts += [f"also holds {_listed(unexpected)}"] if unexpected else []
        trainer = LAYOUTS[method].trainer
        raise PromptError(
            f"for a checkpoint of {trainer} it {' and '.join(parts)}; set the method that trained "
            f"it (--method), or pass the file that {trainer} wrote"
        )


def _check_depth(depth, sizes):
    layers = min(sizes.text_layers, sizes.image_layers)
    if depth > layers:
        raise PromptError(
            f"it has prompts for {depth} layers, but this backbone's towers have "
            f"{sizes.text_layers} (text) and {sizes.image_layers} (image): pass the backbone that "
            "it was trained on"
        )


def _check_shapes(learner, wanted, sizes, backbone):
    context = learner["ctx"]
    is_per_class = wanted == entries("coop", 1) and context.ndim == 3
    if not (context.ndim == 2 or is_per_class) or 0 in context.shape:
        raise PromptError(
            f"its ctx has the shape {list(context.shape)}; it must be [vectors, width], or for "
            "CoOp also [classes, vectors, width]"
        )
    if context.shape[-1] != sizes.text_width:
        raise PromptError(
            f"its context has width {context.shape[-1]}, the text tower of {backbone} "
            f"{sizes.text_width}: it was trained on another backbone"
        )
    hidden = max(sizes.embed_dim // 16, 1)
    shapes = {
        "ctx": context.shape,
        "meta_net.linear1": (hidden, sizes.embed_dim),
        "meta_net.linear2": (sizes.text_width, hidden),
        "compound_prompts_text": context.shape,
    }
    projection = (sizes.image_width, sizes.text_width)
    for entry in wanted:
        layer, _, kind = entry.name.rpartition(".")
        expected = shapes.get(layer or entry.name, projection)
        if kind == "bias":
            expected = expected[:1]
        found = learner[entry.name].shape
        if found != expected:
            raise PromptError(
                f"its {entry.name} has the shape {list(found)}, but {backbone} needs "
                f"{list(expected)}: it was trained on another backbone"
            )


def _as_float32(name, array):
    if array.dtype.kind != "f":
        raise PromptError(f"its {name} has dtype {array.dtype}; it must be floating point")
    array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise PromptError(
            f"its {name} has NaN or infinite values: the training diverged; pass an earlier "
            "epoch's checkpoint"
        )
    return array


def _listed(names):
    shown = ", ".join(names[:_MOST_SHOWN]) or "nothing"
    more = len(names) - _MOST_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown

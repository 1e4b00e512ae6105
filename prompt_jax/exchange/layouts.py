"""The names and shapes that reference implementations give to prompts, and ours.

CoOp and CoCoOp save the module that trains; MaPLe the whole model, whose frozen CLIP is left alone
here. Source of the names: KaiyangZhou/CoOp and muzairkhattak/multimodal-prompt-learning.
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
"""What the classes' words are embedded as. The reference makes them anew when it reads a file."""

_LEARNER = "prompt_learner."
_ELSEWHERE = "VPT"  # in names of what other methods train inside the towers
_COMPOUND = re.compile(r"compound_prompts_text\.(0|[1-9]\d{0,3})")
_MOST_SHOWN = 5


class Layout(NamedTuple):
    """Where the reference implementation keeps a method's checkpoints.

    Attributes:
        trainer: its name there, and in capitals the section of its options.
        folder: what Dassl calls the part that is saved: `model-dir/folder/model.pth.tar-N`.
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
    """One array of a file and where it stands in the pytree.

    Attributes:
        name: in the file, behind the prefix.
        path: ours, joined by full stops.
        row: which of the arrays that are stacked there; None if it is there alone.
        transposed: whether it is a linear layer's weight, [out, in] there and [in, out] here.
    """

    name: str
    path: str
    row: int | None = None
    transposed: bool = False


def entries(method: str, depth: int) -> list[Entry]:
    """What trains, in the order of the reference's state dict; `depth` is MaPLe's J."""
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
    """What of a file's arrays the prompt learner holds, by its own names.

    Raises:
        PromptError: prompts stand outside it too, as other methods have them.
    """
    if not any(name.startswith(_LEARNER) for name in state):
        return dict(state)
    inside = {n.removeprefix(_LEARNER): a for n, a in state.items() if n.startswith(_LEARNER)}
    outside = [n for n in state if not n.startswith(_LEARNER) and _ELSEWHERE in n]
    if outside:
        raise PromptError(
            f"it also trains {_listed(outside)}, which none of {', '.join(LAYOUTS)} has: it is "
            "another method's"
        )
    return inside


def find_method(learner: Mapping[str, np.ndarray]) -> str:
    """The method whose arrays these are.

    Raises:
        PromptError: they are none's.
    """
    if "ctx" not in learner:
        raise PromptError(
            f"it holds no ctx, the context that {', '.join(LAYOUTS)} train, but "
            f"{_listed(list(learner))}; give DIR/prompt_learner/model.pth.tar-N, MaPLe's is "
            "DIR/MultiModalPromptLearner/model.pth.tar-N"
        )
    if any(name.startswith("meta_net.") for name in learner):
        return "cocoop"
    if any(name.startswith(("proj.", "compound_prompt")) for name in learner):
        return "maple"
    return "coop"


def find_depth(learner: Mapping[str, np.ndarray]) -> int:
    """MaPLe's J: the context, and a compound prompt for each further layer."""
    return 1 + sum(_COMPOUND.fullmatch(name) is not None for name in learner)


def to_prompts(method: str, learner: State, sizes: CLIPConfig, backbone: str) -> dict[str, Any]:
    """The method's pytree, float32.

    Args:
        method: of `LAYOUTS`.
        learner: as of `find_learner`.
        sizes, backbone: the CLIP that the prompts are for, and what it is called in errors.

    Raises:
        PromptError: an array is missing, too many, of another shape, or holds no finite numbers.
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
    """The arrays of a method's pytree by the reference's names, without prefix."""
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
    strange = [name for name in learner if name not in {*wanted, *TOKENS}]
    if missing or strange:
        parts = [f"lacks {_listed(missing)}"] if missing else []
        parts += [f"also holds {_listed(strange)}"] if strange else []
        trainer = LAYOUTS[method].trainer
        raise PromptError(
            f"for a checkpoint of {trainer} it {' and '.join(parts)}; name the method that trained "
            f"it (--method), or take the file that {trainer} wrote"
        )


def _check_depth(depth, sizes):
    layers = min(sizes.text_layers, sizes.image_layers)
    if depth > layers:
        raise PromptError(
            f"it has prompts for {depth} layers, this backbone's towers have "
            f"{sizes.text_layers} (text) and {sizes.image_layers} (image): it was trained on "
            "another"
        )


def _check_shapes(learner, wanted, sizes, backbone):
    context = learner["ctx"]
    is_of_classes = wanted == entries("coop", 1) and context.ndim == 3
    if not (context.ndim == 2 or is_of_classes) or 0 in context.shape:
        raise PromptError(
            f"its ctx has the shape {list(context.shape)}; a context is [vectors, width], of CoOp "
            "also [classes, vectors, width]"
        )
    if context.shape[-1] != sizes.text_width:
        raise PromptError(
            f"its context is {context.shape[-1]} wide, the text tower of {backbone} "
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
                f"its {entry.name} has the shape {list(found)}, on {backbone} it would have "
                f"{list(expected)}: it was trained on another backbone"
            )


def _as_float32(name, array):
    if array.dtype.kind != "f":
        raise PromptError(f"its {name} holds {array.dtype}, not real numbers")
    array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise PromptError(
            f"its {name} holds numbers that are not finite: that training diverged; take an "
            "earlier epoch"
        )
    return array


def _listed(names):
    shown = ", ".join(names[:_MOST_SHOWN]) or "nothing"
    more = len(names) - _MOST_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown

"""Maps checkpoints of OpenAI, open_clip and Hugging Face to the parameter tree and back.

One table per layout serves both directions.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

from prompt_jax.clip.config import CLIPConfig
from prompt_jax.errors import PromptError

State = dict[str, np.ndarray]
"""A checkpoint's arrays by name, with PyTorch's order of axes."""


class Leaf(NamedTuple):
    """The names of one parameter of the tree in a checkpoint.

    Several arrays are concatenated along PyTorch's first axis. `kind` is the permutation of axes:
    "linear" is [out, in] in PyTorch and [in, out] here, "conv" is [out, in, row, column] in PyTorch
    and [row, column, in, out] here.
    """

    path: str
    names: tuple[str, ...]
    kind: Literal["same", "linear", "conv"] = "same"


Layout = list[Leaf]

_OPENAI_BLOCK = {
    "ln_1": ("ln_1.{}",),
    "qkv": ("attn.in_proj_{}",),
    "out": ("attn.out_proj.{}",),
    "ln_2": ("ln_2.{}",),
    "fc": ("mlp.c_fc.{}",),
    "proj": ("mlp.c_proj.{}",),
}
_HUGGING_FACE_BLOCK = {
    "ln_1": ("layer_norm1.{}",),
    "qkv": ("self_attn.q_proj.{}", "self_attn.k_proj.{}", "self_attn.v_proj.{}"),
    "out": ("self_attn.out_proj.{}",),
    "ln_2": ("layer_norm2.{}",),
    "fc": ("mlp.fc1.{}",),
    "proj": ("mlp.fc2.{}",),
}


def module_leaves(path: str, *templates: str) -> Layout:
    """Returns the entries of a LayerNorm's or linear layer's weight and bias."""
    weights = tuple(template.format("weight") for template in templates)
    biases = tuple(template.format("bias") for template in templates)
    if path.rpartition("/")[2].startswith("ln_"):
        return [Leaf(f"{path}/scale", weights), Leaf(f"{path}/bias", biases)]
    return [Leaf(f"{path}/kernel", weights, "linear"), Leaf(f"{path}/bias", biases)]


def block_leaves(
    tower: str, prefix: str, table: Mapping[str, tuple[str, ...]], layers: int
) -> Layout:
    """Returns the entries of a tower's blocks.

    Args:
        tower: "image" or "text".
        prefix: of the names in the checkpoint, before the number of a block.
        table: part of a block to its names, "{}" for weight or bias.
        layers: number of blocks.
    """
    return [
        leaf
        for layer in range(layers)
        for part, templates in table.items()
        for leaf in module_leaves(
            f"{tower}/block_{layer}/{part}", *(f"{prefix}{layer}.{t}" for t in templates)
        )
    ]


def openai_layout(image_layers: int, text_layers: int, text_prefix: str = "") -> Layout:
    """Returns the layout of OpenAI's and open_clip's checkpoints.

    Args:
        image_layers: number of blocks of the image tower.
        text_layers: number of blocks of the text tower.
        text_prefix: "text." if the text tower is a module (in open_clip), else "".
    """
    text = text_prefix
    return [
        Leaf("image/patch_embedding/kernel", ("visual.conv1.weight",), "conv"),
        Leaf("image/class_embedding", ("visual.class_embedding",)),
        Leaf("image/position_embedding", ("visual.positional_embedding",)),
        *module_leaves("image/ln_pre", "visual.ln_pre.{}"),
        *block_leaves("image", "visual.transformer.resblocks.", _OPENAI_BLOCK, image_layers),
        *module_leaves("image/ln_post", "visual.ln_post.{}"),
        Leaf("image/projection/kernel", ("visual.proj",)),
        Leaf("text/token_embedding", (f"{text}token_embedding.weight",)),
        Leaf("text/position_embedding", (f"{text}positional_embedding",)),
        *block_leaves("text", f"{text}transformer.resblocks.", _OPENAI_BLOCK, text_layers),
        *module_leaves("text/ln_final", f"{text}ln_final.{{}}"),
        Leaf("text/projection/kernel", (f"{text}text_projection",)),
        Leaf("logit_scale", ("logit_scale",)),
    ]


def hugging_face_layout(image_layers: int, text_layers: int) -> Layout:
    """Returns the layout of transformers' `CLIPModel` ("pre_layrnorm" is its spelling)."""
    image, text = "vision_model.", "text_model."
    embeddings, blocks = f"{image}embeddings.", "encoder.layers."
    return [
        Leaf("image/patch_embedding/kernel", (f"{embeddings}patch_embedding.weight",), "conv"),
        Leaf("image/class_embedding", (f"{embeddings}class_embedding",)),
        Leaf("image/position_embedding", (f"{embeddings}position_embedding.weight",)),
        *module_leaves("image/ln_pre", f"{image}pre_layrnorm.{{}}"),
        *block_leaves("image", f"{image}{blocks}", _HUGGING_FACE_BLOCK, image_layers),
        *module_leaves("image/ln_post", f"{image}post_layernorm.{{}}"),
        Leaf("image/projection/kernel", ("visual_projection.weight",), "linear"),
        Leaf("text/token_embedding", (f"{text}embeddings.token_embedding.weight",)),
        Leaf("text/position_embedding", (f"{text}embeddings.position_embedding.weight",)),
        *block_leaves("text", f"{text}{blocks}", _HUGGING_FACE_BLOCK, text_layers),
        *module_leaves("text/ln_final", f"{text}final_layer_norm.{{}}"),
        Leaf("text/projection/kernel", ("text_projection.weight",), "linear"),
        Leaf("logit_scale", ("logit_scale",)),
    ]


def parameter_shapes(config: CLIPConfig) -> dict[str, tuple[int, ...]]:
    """Returns the shape of every parameter by path, e.g. "image/block_0/qkv/kernel"."""
    c = config
    shapes: dict[str, tuple[int, ...]] = {
        "image/patch_embedding/kernel": (c.patch_size, c.patch_size, 3, c.image_width),
        "image/class_embedding": (c.image_width,),
        "image/position_embedding": (1 + c.patches, c.image_width),
        "image/projection/kernel": (c.image_width, c.embed_dim),
        "text/token_embedding": (c.vocab_size, c.text_width),
        "text/position_embedding": (c.context_length, c.text_width),
        "text/projection/kernel": (c.text_width, c.embed_dim),
        "logit_scale": (),
    }
    norms = [("image/ln_pre", c.image_width), ("image/ln_post", c.image_width)]
    norms.append(("text/ln_final", c.text_width))
    for tower, layers, width, mlp in (
        ("image", c.image_layers, c.image_width, c.image_mlp),
        ("text", c.text_layers, c.text_width, c.text_mlp),
    ):
        for block in (f"{tower}/block_{layer}" for layer in range(layers)):
            norms += [(f"{block}/ln_1", width), (f"{block}/ln_2", width)]
            linears = {"qkv": (width, 3 * width), "out": (width, width)}
            linears |= {"fc": (width, mlp), "proj": (mlp, width)}
            for name, shape in linears.items():
                shapes |= {f"{block}/{name}/kernel": shape, f"{block}/{name}/bias": shape[1:]}
    for name, width in norms:
        shapes |= {f"{name}/scale": (width,), f"{name}/bias": (width,)}
    return shapes


def to_tree(layout: Layout, config: CLIPConfig, state: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Converts a checkpoint to the parameter tree, after checking all its arrays.

    Args:
        layout: of `state`.
        config: the architecture.
        state: the checkpoint, without buffers that are not parameters.

    Returns:
        nested dict of float32 arrays.

    Raises:
        PromptError: arrays are missing, unexpected, misshapen, not floating point, or hold NaN or
            infinity.
    """
    check_state(layout, config, state)
    return arrange(layout, state)


def arrange(layout: Layout, state: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Returns the parameter tree of a checkpoint whose arrays have been checked."""
    tree: dict[str, Any] = {}
    for leaf in layout:
        array = state[leaf.names[0]]
        if len(leaf.names) > 1:
            array = np.concatenate([state[name] for name in leaf.names])
        if leaf.kind == "linear":
            array = array.T
        elif leaf.kind == "conv":
            array = array.transpose(2, 3, 1, 0)
        *parents, last = leaf.path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = np.array(array, np.float32, order="C")
    return tree


def from_tree(layout: Layout, frozen: Mapping[str, Any]) -> State:
    """Converts the parameter tree to a checkpoint; the inverse of `to_tree`.

    Raises:
        PromptError: the tree's parameters are not those of the layout.
    """
    leaves = _flatten(frozen)
    paths = [leaf.path for leaf in layout]
    problems = [
        *_listed("missing", (path for path in paths if path not in leaves)),
        *_listed("unexpected", (path for path in leaves if path not in set(paths))),
    ]
    if problems:
        raise PromptError("the parameters do not fit the configuration: " + "; ".join(problems))
    state: State = {}
    for leaf in layout:
        array = leaves[leaf.path]
        if leaf.kind == "linear":
            array = array.T
        elif leaf.kind == "conv":
            array = array.transpose(3, 2, 0, 1)
        pieces = np.split(array, len(leaf.names)) if len(leaf.names) > 1 else [array]
        state.update(zip(leaf.names, (np.array(p, order="C") for p in pieces), strict=True))
    return state


def _flatten(tree: Mapping[str, Any], parent: str = "") -> dict[str, np.ndarray]:
    leaves: State = {}
    for name, node in tree.items():
        if isinstance(node, Mapping):
            leaves |= _flatten(node, f"{parent}{name}/")
        else:
            leaves[f"{parent}{name}"] = np.asarray(node)
    return leaves


def _checkpoint_shapes(
    layout: Layout, ours: Mapping[str, tuple[int, ...]]
) -> dict[str, tuple[int, ...]]:
    shapes = {}
    for leaf in layout:
        shape = ours[leaf.path]
        if leaf.kind == "linear":
            shape = shape[::-1]
        elif leaf.kind == "conv":
            shape = (shape[3], shape[2], shape[0], shape[1])
        for name in leaf.names:
            shapes[name] = (shape[0] // len(leaf.names), *shape[1:]) if shape else ()
    return shapes


def check_state(layout: Layout, config: CLIPConfig, state: Mapping[str, np.ndarray]) -> None:
    """Raises PromptError if a checkpoint is incomplete or not finite; see `to_tree`."""
    check_arrays(layout, parameter_shapes(config), state, "a plain CLIP")


def check_arrays(
    layout: Layout,
    shapes: Mapping[str, tuple[int, ...]],
    state: Mapping[str, np.ndarray],
    model: str,
) -> None:
    """Raises PromptError if a checkpoint is incomplete or not finite; see `to_tree`.

    Args:
        layout: of `state`.
        shapes: of every parameter by its path in the tree.
        state: the checkpoint.
        model: what it should hold, for the message.
    """
    expected = _checkpoint_shapes(layout, shapes)
    problems = [
        *_listed("missing", (f"{k} {list(expected[k])}" for k in expected if k not in state)),
        *_listed("unexpected", (f"{k} {list(state[k].shape)}" for k in state if k not in expected)),
    ]
    common = [(name, state[name], shape) for name, shape in expected.items() if name in state]
    problems += _listed(
        "misshapen",
        (f"{k} {list(a.shape)} instead of {list(s)}" for k, a, s in common if a.shape != s),
    )
    floats = [(name, array) for name, array, _ in common if array.dtype.kind == "f"]
    problems += _listed(
        "not floating point", (f"{k} {a.dtype}" for k, a, _ in common if a.dtype.kind != "f")
    )
    problems += _listed(
        "holding NaN or infinity", (name for name, array in floats if not np.isfinite(array).all())
    )
    if problems:
        raise PromptError(f"the weights are not those of {model}: " + "; ".join(problems))


def _listed(what: str, items: Iterable[str], shown: int = 8) -> list[str]:
    names = list(items)
    if not names:
        return []
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return [f"{len(names)} {what}: {', '.join(names[:shown])}{more}"]

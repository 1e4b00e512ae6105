"""Converts trained arrays of a backbone, or of transformer blocks, to OpenAI's names."""

from collections.abc import Mapping

from torch import Tensor, nn

_NAMES = {
    "image.patch_embedding.kernel": "visual.conv1.weight",
    "image.position_embedding": "visual.positional_embedding",
    "image.projection.kernel": "visual.proj",
    "image.block_": "visual.transformer.resblocks.",
    "image.": "visual.",
    "text.token_embedding": "token_embedding.weight",
    "text.position_embedding": "positional_embedding",
    "text.projection.kernel": "text_projection",
    "text.block_": "transformer.resblocks.",
    "text.": "",
    "block_": "",
    ".qkv.": ".attn.in_proj_",
    ".out.": ".attn.out_proj.",
    ".fc.": ".mlp.c_fc.",
    ".proj.": ".mlp.c_proj.",
    "kernel": "weight",
    "scale": "weight",
}


def as_openai(arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames arrays as OpenAI does, and transposes kernels from [in, out] to [out, in].

    "image.block_0.fc.kernel" becomes "visual.transformer.resblocks.0.mlp.c_fc.weight", and
    "block_0.fc.kernel" becomes "0.mlp.c_fc.weight".
    """
    state = {}
    for name, array in arrays.items():
        if name == "image.patch_embedding.kernel":
            array = array.permute(3, 2, 0, 1)
        elif name.endswith("kernel") and "projection" not in name:
            array = array.T
        if name != "logit_scale":
            for theirs, openai in _NAMES.items():
                name = name.replace(theirs, openai)
        state[name] = array
    return state


def take(arrays: Mapping[str, Tensor], group: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Splits arrays into those named "group.…", without that prefix, and all others."""
    start = f"{group}."
    inside = {n.removeprefix(start): a for n, a in arrays.items() if n.startswith(start)}
    return inside, {name: array for name, array in arrays.items() if not name.startswith(start)}


def load_norms(clip: nn.Module, arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Loads the LayerNorms among trained arrays into the backbone; returns the other arrays.

    Raises:
        ValueError: the backbone has no array of such a name.
    """
    norms, others = take(arrays, "norms")
    unknown = clip.load_state_dict(as_openai(norms), strict=False).unexpected_keys
    if unknown:
        raise ValueError(f"the backbone has no arrays {', '.join(unknown)}")
    return others

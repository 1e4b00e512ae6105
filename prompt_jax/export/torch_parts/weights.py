"""Reads CLIP's weights in the common formats, as data: no code of a file is run."""

import pathlib
import pickle
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from prompt_jax.export.torch_parts.images import check_regular

_SCALARS = ("input_resolution", "context_length", "vocab_size")  # in OpenAI's state dict
_BUFFERS = ("position_ids", "attn_mask")
_HUGGING_FACE = {
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "vision_model.pre_layrnorm.": "visual.ln_pre.",  # sic
    "vision_model.post_layernorm.": "visual.ln_post.",
    "text_model.final_layer_norm.": "ln_final.",
    "vision_model.encoder.layers.": "visual.transformer.resblocks.",
    "text_model.encoder.layers.": "transformer.resblocks.",
    ".layer_norm1.": ".ln_1.",
    ".layer_norm2.": ".ln_2.",
    ".self_attn.": ".attn.",
    ".mlp.fc1.": ".mlp.c_fc.",
    ".mlp.fc2.": ".mlp.c_proj.",
}


def read_weights(clip: Any) -> dict[str, Tensor]:
    """Returns CLIP's weights by OpenAI's names, in float32.

    Args:
        clip: a model (transformers' `CLIPModel`, OpenAI's CLIP), a state dict of either or of
            open_clip, a weight file, or a directory with model.safetensors or pytorch_model.bin.

    Raises:
        ValueError: there are no weights of a CLIP with a plain ViT.
    """
    if isinstance(clip, str | pathlib.Path):
        clip = _read_file(pathlib.Path(clip))
    state = dict(clip.state_dict() if isinstance(clip, nn.Module) else clip)
    state = {
        name: array.float()
        for name, array in state.items()
        if name not in _SCALARS and not name.endswith(_BUFFERS)
    }
    if "text.token_embedding.weight" in state:  # open_clip
        state = {name.removeprefix("text."): array for name, array in state.items()}
    if "visual_projection.weight" in state:
        state = _from_hugging_face(state)
    if "visual.proj" not in state:
        first = ", ".join(list(state)[:3]) or "none"
        raise ValueError(f"these are not the weights of a CLIP with a plain ViT ({first}, …)")
    return state


def _read_file(path: pathlib.Path) -> Any:
    if path.is_dir():
        names = ("model.safetensors", "pytorch_model.bin")
        there = [path / name for name in names if (path / name).is_file()]
        if not there:
            raise ValueError(f"{path} holds neither {' nor '.join(names)}")
        path = there[0]
    if not path.exists():
        raise ValueError(f"{path}: no such file or directory")
    check_regular(path)
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        if _is_torchscript(path):  # as OpenAI publishes them
            return _read_torchscript(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
        return content.get("state_dict", content)
    # Readers raise many kinds of errors on damaged files.
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path} is damaged, or not a weight file: {reason}") from error


def _is_torchscript(path: pathlib.Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


class _Script:
    """The attributes of a TorchScript module, without its code, which `torch.jit.load` runs."""

    attributes: Mapping[str, Any] = {}

    def __setstate__(self, attributes: Mapping[str, Any]):
        self.attributes = attributes


class _Tensors(pickle.Unpickler):
    """An unpickler of TorchScript archives that allows only tensors and modules without code."""

    def __init__(self, archive: zipfile.ZipFile, name: str):
        """Takes an archive and the name of the pickle in it."""
        super().__init__(archive.open(name))
        self.archive, self.root = archive, name.removesuffix("data.pkl")

    def find_class(self, module: str, name: str) -> Any:
        """Returns the allowed substitute of a global; see `pickle.Unpickler`."""
        if module.partition(".")[0] == "__torch__":
            return _Script
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _view
        if module == "torch" and name in _STORED:
            return _STORED[name]
        if (module, name) == ("collections", "OrderedDict"):
            return dict
        if module == "torch.jit._pickle" and name.startswith(("build_", "restore_type_tag")):
            return _first
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a weight file")

    def persistent_load(self, saved: Any) -> Tensor:
        """Returns a storage as a flat tensor."""
        _, dtype, key, _, number = saved
        entry = self.archive.getinfo(f"{self.root}data/{key}")
        if entry.compress_type != zipfile.ZIP_STORED:
            raise pickle.UnpicklingError("a storage is compressed, which torch never writes")
        content = self.archive.read(entry)
        if not content:
            return torch.empty(0, dtype=dtype)
        return torch.frombuffer(bytearray(content), dtype=dtype, count=number)


_STORED = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "BoolStorage": torch.bool,
}


def _view(
    storage: Tensor, offset: int, shape: Sequence[int], strides: Sequence[int], *_: Any
) -> Any:
    return storage.as_strided(tuple(shape), tuple(strides), offset)


def _first(value: Any, *_: Any) -> Any:
    return value


def _read_torchscript(path: pathlib.Path) -> dict[str, Tensor]:
    """Returns the arrays of a module written by torch.jit.save."""
    with zipfile.ZipFile(path) as archive:
        [name] = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        return dict(_walk(_Tensors(archive, name).load(), ""))


def _walk(module: Any, prefix: str) -> Iterator[tuple[str, Tensor]]:
    for name, value in module.attributes.items():
        if isinstance(value, Tensor):
            yield f"{prefix}{name}", value
        elif isinstance(value, _Script):
            yield from _walk(value, f"{prefix}{name}.")


def _from_hugging_face(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames weights as OpenAI does; joins query, key and value, transposes projections."""
    renamed: dict[str, Tensor] = {}
    for name, array in state.items():
        for theirs, ours in _HUGGING_FACE.items():
            name = name.replace(theirs, ours)
        renamed[name] = array
    renamed["visual.proj"] = renamed.pop("visual_projection.weight").T
    renamed["text_projection"] = renamed.pop("text_projection.weight").T
    for name in [name for name in renamed if ".attn.q_proj." in name]:
        parts = [renamed.pop(name.replace(".q_proj.", f".{one}_proj.")) for one in "qkv"]
        renamed[name.replace(".q_proj.", ".in_proj_")] = torch.cat(parts)
    return renamed


def check_sizes(state: Mapping[str, Tensor], sizes: Mapping[str, Any]) -> None:
    """Raises a ValueError if weights by OpenAI's names do not match `sizes` of config.json."""
    patch, image, text = (sizes[name] for name in ("patch_size", "image_width", "text_width"))
    shapes = {
        "visual.conv1.weight": (image, 3, patch, patch),
        "visual.positional_embedding": (1 + (sizes["image_size"] // patch) ** 2, image),
        "visual.proj": (image, sizes["embed_dim"]),
        "visual.transformer.resblocks.0.mlp.c_fc.weight": (sizes["image_mlp"], image),
        "token_embedding.weight": (sizes["vocab_size"], text),
        "positional_embedding": (sizes["context_length"], text),
        "text_projection": (text, sizes["embed_dim"]),
        "transformer.resblocks.0.mlp.c_fc.weight": (sizes["text_mlp"], text),
    }
    for name, shape in shapes.items():
        found = tuple(state[name].shape) if name in state else None
        if found != shape:
            raise ValueError(f"the weights' {name} has shape {found}; config.json says {shape}")
    for start, tower in (("visual.transformer", "image"), ("transformer", "text")):
        blocks = {n.split(".resblocks.")[1].split(".")[0] for n in _inside(state, start)}
        if len(blocks) != sizes[f"{tower}_layers"]:
            raise ValueError(
                f"the weights have {len(blocks)} layers in the {tower} tower; config.json says "
                f"{sizes[f'{tower}_layers']}"
            )


def _inside(state: Mapping[str, Tensor], start: str) -> Iterator[str]:
    return (name for name in state if name.startswith(f"{start}.resblocks."))

"""CLIP checkpoints: configs, safetensors, PyTorch's pickles, TorchScript."""

import io
import json
import pickle
import struct
import tempfile
import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from random import Random
from unittest import mock

import flax.traverse_util
import numpy as np
from safetensors.numpy import save as save_safetensors

from prompt_jax.clip import CLIPConfig, loading, saving
from prompt_jax.clip.checkpoints.layouts import State, from_tree, openai_layout, parameter_shapes
from prompt_jax.clip.vocabulary import bpe, vocabulary_files

from ..files import Files, collect
from ..kind import Kind, Wrong, changing
from ..mutations import BYTES, JSON, ZIP, change_json, read_zip, write_zip

CONFIG = CLIPConfig(
    image_size=16,
    patch_size=8,
    image_width=64,
    image_layers=2,
    image_heads=1,
    image_mlp=64,
    text_width=64,
    text_layers=2,
    text_heads=1,
    text_mlp=64,
    embed_dim=16,
    vocab_size=60,
)
_OPEN_CLIP = {
    "model_cfg": {
        "embed_dim": 16,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 16, "layers": 2, "width": 64, "patch_size": 8},
        "text_cfg": {
            **{"context_length": 77, "vocab_size": 60, "width": 64, "heads": 1, "layers": 2},
        },
    },
    "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
}


def reader(name: str) -> Callable[[Path], None]:
    """Loads the CLIP of that file or directory, and checks that it is complete and finite."""

    def read(folder: Path) -> None:
        # CLIP's vocabulary would add megabytes to an input; its rules are tested elsewhere.
        with (
            mock.patch.object(vocabulary_files, "VOCABULARY", CONFIG.vocab_size),
            mock.patch.object(loading, "VOCABULARY", CONFIG.vocab_size),
        ):
            config, frozen = loading.load(folder / name, "quick_gelu")
        arrays = flax.traverse_util.flatten_dict(frozen, sep="/")
        if {path: array.shape for path, array in arrays.items()} != parameter_shapes(config):
            raise Wrong("the arrays are not those of the sizes")
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise Wrong("an array is not finite")

    return read


@lru_cache
def _frozen() -> dict:
    rng = np.random.default_rng(0)
    shapes = parameter_shapes(CONFIG).items()
    flat = {path: rng.normal(0, 0.05, shape).astype(np.float32) for path, shape in shapes}
    return flax.traverse_util.unflatten_dict(flat, sep="/")


@lru_cache
def hugging_face() -> Files:
    """Returns a tiny CLIP in the format of transformers, not trainable."""
    with tempfile.TemporaryDirectory() as folder:
        saving.save_hugging_face(CONFIG, _frozen(), folder, "float16")
        return collect(Path(folder))


@lru_cache
def _openai() -> State:
    state = from_tree(openai_layout(2, 2), _frozen())
    scalars = {"input_resolution": 16, "context_length": 77, "vocab_size": 60}
    half = {name: array.astype(np.float16) for name, array in state.items()}
    return half | {name: np.array(value) for name, value in scalars.items()}


def _make_folder() -> list[Files]:
    return [hugging_face()]


def _make_open_clip() -> list[Files]:
    state = {name: array for name, array in _openai().items() if array.ndim or name[0] == "l"}
    return [
        {
            "open_clip_config.json": json.dumps(_OPEN_CLIP).encode(),
            "open_clip_model.safetensors": save_safetensors(state),
        }
    ]


def _make_sharded() -> list[Files]:
    from safetensors.numpy import load

    files = hugging_face()
    state = load(files["model.safetensors"])
    halves = [list(state)[::2], list(state)[1::2]]
    names = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    shards: Files = {
        name: save_safetensors({key: state[key] for key in half})
        for name, half in zip(names, halves, strict=True)
    }
    where = {key: name for name, half in zip(names, halves, strict=True) for key in half}
    index = json.dumps({"metadata": {"total_size": 1}, "weight_map": where}).encode()
    outside = {"outside.safetensors": shards[names[0]]}
    inside = shards | {"model.safetensors.index.json": index, "config.json": files["config.json"]}
    return [{f"clip/{name}": content for name, content in inside.items()} | outside]


def _change_header(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Changes the JSON header of a safetensors file, with a matching length."""
    (length,) = struct.unpack_from("<Q", data)
    header = change_json(random, data[8 : 8 + length], ())
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


def _tensors() -> dict:
    import torch

    return {name: torch.from_numpy(array.copy()) for name, array in _openai().items()}


def _make_state_dict() -> list[Files]:
    import torch

    made = []
    for content in (_tensors(), {"state_dict": _tensors(), "epoch": 3}, *_wrapped()):
        file = io.BytesIO()
        torch.save(content, file)
        made.append({"clip.pt": file.getvalue()})
    entries = read_zip(made[0]["clip.pt"])
    for number, bad in enumerate(_hostile_pickles()):
        name = next(name for name, _ in entries if name.endswith("data.pkl"))
        changed = [(n, bad if n == name else content) for n, content in entries]
        made.append({"clip.pt" if number else "clip.bin": write_zip(changed)})
    count = 2 + len(_wrapped())
    return _mostly(made[:count], made[count:])


def _wrapped() -> list[dict]:
    """Wraps weights like training code: prefixes, keys, averages."""
    state = _tensors()

    def under(prefix: str) -> dict:
        return {prefix + name: tensor for name, tensor in state.items()}

    halves = {
        ("_image_encoder." if name.startswith("visual.") else "_text_encoder.") + name: tensor
        for name, tensor in state.items()
    }
    return [
        {"model": under("_orig_mod.module."), "optimizer": {}, "epoch": 3},
        {"model_state": under("clip."), "model_state_ema": under("clip."), "cfg": ""},
        {"state_dict": halves},
        {"ema": {"module": under("model."), "decay": 0.9}},
    ]


def _make_legacy() -> list[Files]:
    import torch

    file = io.BytesIO()
    torch.save(_tensors(), file, _use_new_zipfile_serialization=False)
    return _mostly([{"clip.pt": file.getvalue()}], [{"clip.pt": c} for c in _hostile_pickles()])


def _mostly(valid: list[Files], hostile: list[Files]) -> list[Files]:
    """Returns examples, one in five of which is malicious, because those are slow."""
    return valid * (4 * len(hostile) // len(valid)) + hostile


class _Calls:
    """Calls a function when it is unpickled."""

    def __init__(self, function: Callable, *arguments: object):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def _hostile_pickles() -> list[bytes]:
    import os

    calls = (
        _Calls(os.system, "touch written"),
        _Calls(exec, "open('written', 'w')"),
        _Calls(open, "written", "w"),
        _Calls(eval, "__import__('os').mkdir('written')"),
        _Calls(bytearray, 2**32),
    )
    return [pickle.dumps({"visual.proj": call}, 2) for call in calls]


def _make_script() -> list[Files]:
    import torch

    root = torch.nn.Module()
    for name, tensor in _tensors().items():
        *parents, last = name.split(".")
        module = root
        for parent in parents:
            if not hasattr(module, parent):
                module.add_module(parent, torch.nn.Module())
            module = getattr(module, parent)
        module.register_buffer(last, tensor)
    root.forward = lambda x: x
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates TorchScript
        torch.jit.save(torch.jit.trace(root, torch.zeros(1)), file)
    whole = file.getvalue()
    return _mostly([{"clip.pt": whole}], [{"clip.pt": c} for c in _hostile_scripts(whole)])


def _hostile_scripts(whole: bytes) -> list[bytes]:
    """Returns the archive with code in its root module that runs when torch loads it."""
    state = b"Tuple[Tensor, bool]"
    bodies = (
        b'    torch.save((state)[0], "written")\n    return None\n',
        b"    while True:\n      a = 1\n    return None\n",
        b'    ops.prim.RaiseException("boom")\n    return None\n',
    )
    made = []
    for body in bodies:
        methods = (
            b"  def __getstate__(self) -> " + state + b":\n    return (self.logit_scale, True)"
        )
        methods += b"\n  def __setstate__(self, state: " + state + b") -> NoneType:\n" + body
        entries = [
            (n, c + methods if n.endswith("code/__torch__.py") else c) for n, c in read_zip(whole)
        ]
        made.append(write_zip(entries))
    return made


def _make_vocabulary() -> list[Files]:
    pieces = bpe.number_pieces(bpe.read_merges())
    return [hugging_face() | {"vocab.json": json.dumps(pieces).encode()}]


KINDS = [
    Kind("vocabulary", 1, _make_vocabulary, changing("vocab.json", JSON), reader(".")),
    Kind("config", 8, _make_folder, changing("config.json", JSON), reader(".")),
    Kind("open_clip", 5, _make_open_clip, changing("config.json", JSON), reader(".")),
    Kind("index", 3, _make_sharded, changing(("index.json", "config.json"), JSON), reader("clip")),
    Kind(
        "safetensors",
        10,
        _make_folder,
        changing(".safetensors", (*(_change_header,) * 4, *BYTES)),
        reader("."),
    ),
    Kind("state_dict", 6, _make_state_dict, changing((".pt", ".bin"), ZIP), reader("clip.pt")),
    Kind("legacy", 4, _make_legacy, changing(".pt", BYTES), reader("clip.pt")),
    Kind("torchscript", 4, _make_script, changing(".pt", ZIP), reader("clip.pt")),
]

"""Converts the exported PyTorch model to ONNX, and compares both in onnxruntime."""

import dataclasses
import importlib.util
import json
import logging
import pathlib
import types
import warnings
from typing import Any

import numpy as np

from prompt_jax.clip import Frozen
from prompt_jax.clip.checkpoints import layouts
from prompt_jax.errors import PromptError, installing
from prompt_jax.export import onnx_inputs, writing
from prompt_jax.models.saved import Saved
from prompt_jax.storage.files import write_text

# An ONNX file holds at most 2 GB; larger weights are stored in a separate file.
_LARGEST = 1_800_000_000
_TRACED, _TRIED = 2, (1, 5)  # batch sizes
_CLOSE = 1e-3
_PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime")


def check_packages() -> None:
    """Raises a PromptError if a package that `write` needs is missing."""
    for name in _PACKAGES:
        if importlib.util.find_spec(name) is None:
            raise PromptError(f"--onnx needs the package {name}: {installing('onnx')}")


def write(folder: pathlib.Path, model: Saved, frozen: Frozen, own: str = "") -> float:
    """Writes model.onnx: "images" float32[batch, 3, S, S] -> "logits" float32[batch, K].

    For videos, the input is "videos" float32[batch, F, 3, S, S]. Beside it, preprocess.py prepares
    the input with NumPy and Pillow. `own` is a class of the user, see `writing.find_part`.

    Returns:
        the largest difference between its logits and PyTorch's, at two other batch sizes.

    Raises:
        PromptError: the logits differ.
    """
    import onnxruntime
    import torch

    # Hides notes on unused optional packages and on deprecated functions that torch.onnx calls.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    exported, path = load(folder, model, frozen, own), folder / "model.onnx"
    name = "videos" if model.kind == "videos" else "images"
    *axes, height, width, channels = model.inputs.shape
    images = torch.randn(_TRACED, *axes, channels, height, width)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        # An LSTM concatenates its weights again, which is traced correctly.
        warnings.filterwarnings("ignore", "The tensor attributes .*_flat_weights", UserWarning)
        program = torch.onnx.export(
            exported,
            (images,),
            dynamo=True,
            input_names=[name],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            verbose=False,
        )
    assert program is not None
    for node in program.model.graph.all_nodes():  # stack traces with paths of this machine
        node.metadata_props.clear()
    large = sum(p.nbytes for p in exported.parameters()) > _LARGEST
    program.save(path, external_data=large)
    describe(path, model)
    code = pathlib.Path(onnx_inputs.__file__).read_text(encoding="utf-8")
    write_text(folder / writing.PREPROCESS, code)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    worst = 0.0
    for number in _TRIED:
        images = torch.randn(number, *images.shape[1:])
        with torch.no_grad():
            expected = exported(images).numpy()
        [found] = session.run(["logits"], {name: images.numpy()})
        worst = max(worst, float(np.abs(np.asarray(found) - expected).max()))
    if not worst <= _CLOSE:
        raise PromptError(
            f"model.onnx: its logits differ from PyTorch's by {worst:.2g}; at most {_CLOSE:g} is "
            "allowed: use model.py"
        )
    return worst


def describe(path: pathlib.Path, model: Saved) -> None:
    """Adds preprocessing, class names and temperature to the metadata of an ONNX file."""
    import onnx

    file = onnx.load(path, load_external_data=False)
    fields = {
        "inputs": dataclasses.asdict(model.inputs),
        "mean": model.inputs.mean,
        "std": model.inputs.std,
        "class_names": model.class_names,
        "names": dict(enumerate(model.class_names)),
        "temperature": model.temperature,
    }
    onnx.helper.set_model_props(file, {name: json.dumps(each) for name, each in fields.items()})
    onnx.save(file, path)


def load(folder: pathlib.Path, model: Saved, frozen: Frozen, own: str = "") -> Any:
    """Returns the exported PyTorch model on its backbone."""
    import torch

    # Runs the generated source, not the file on disk, which other processes could change.
    module = types.ModuleType("exported_model")
    exec(compile(writing.code_of(model, own), writing.CODE, "exec"), vars(module))
    layout = layouts.openai_layout(model.sizes.image_layers, model.sizes.text_layers)
    state = layouts.from_tree(layout, frozen)
    return module.load(folder, {name: torch.tensor(array) for name, array in state.items()})

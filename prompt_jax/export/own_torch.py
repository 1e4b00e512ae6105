"""Compares the user's PyTorch class of a method of their own with the method."""

import importlib.util
import pathlib

import numpy as np

from prompt_jax.clip import Frozen
from prompt_jax.errors import PromptError, installing
from prompt_jax.export import to_onnx, to_stablehlo
from prompt_jax.models.saved import Saved

_TRIED = 3  # batch size
_CLOSE = 1e-2


def check_packages() -> None:
    """Raises a PromptError if torch is missing."""
    if importlib.util.find_spec("torch") is None:
        raise PromptError(f"--torch-class needs the package torch: {installing('torch')}")


def compare(folder: pathlib.Path, model: Saved, frozen: Frozen, own: str) -> float:
    """Returns the largest difference between the logits of the class and of the method.

    Args:
        folder: with the files of `writing.write`.
        model, frozen: the model and its backbone.
        own: "module:CLASS".

    Raises:
        PromptError: the class fails, or its logits differ.
    """
    import torch

    images = np.random.default_rng(0).standard_normal((_TRIED, *model.inputs.shape), np.float32)
    expected = np.asarray(to_stablehlo.build(model, frozen)(images))
    try:
        with torch.no_grad():
            exported = to_onnx.load(folder, model, frozen, own)
            turned = torch.from_numpy(np.moveaxis(images, -1, -3).copy())
            found = np.asarray(exported(turned))
    except Exception as error:  # whatever the user's code raises
        raise PromptError(f"--torch-class {own}: {type(error).__name__}: {error}") from error
    if found.shape != expected.shape:
        raise PromptError(
            f"--torch-class {own}: its logits are {list(found.shape)}; for {_TRIED} images they "
            f"must be {list(expected.shape)}"
        )
    worst = float(np.abs(found - expected).max())
    if not worst <= _CLOSE:
        raise PromptError(
            f"--torch-class {own}: its logits differ from the method's by {worst:.2g}; at most "
            f"{_CLOSE:g} is allowed"
        )
    return worst

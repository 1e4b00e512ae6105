"""Prompt tuning of frozen CLIP in JAX and Flax.

    import prompt_jax as pj
    model = pj.load("results/pro_mpt")
    print(model.predict(["cat.jpg", "dog.jpg"]))

`load` reads a trained model or a bare backbone, `fit` trains one from images and labels.
"""

import importlib
import importlib.metadata
import warnings
from typing import TYPE_CHECKING, Any

from prompt_jax import moved

if TYPE_CHECKING:
    from prompt_jax.errors import BadImage, DataError, PromptError
    from prompt_jax.evaluation.predictions import Prediction, Predictions
    from prompt_jax.inputs.contents import URL
    from prompt_jax.models.fitting import fit
    from prompt_jax.models.loading import load
    from prompt_jax.models.model import Model

__all__ = [
    "URL",
    "BadImage",
    "DataError",
    "Model",
    "Prediction",
    "Predictions",
    "PromptError",
    "fit",
    "load",
]

# Looked up when asked for: what reads data imports this package, and shall not wait for JAX.
_PLACES = {
    "URL": "inputs.contents",
    "BadImage": "errors",
    "DataError": "errors",
    "Model": "models.model",
    "Prediction": "evaluation.predictions",
    "Predictions": "evaluation.predictions",
    "PromptError": "errors",
    "fit": "models.fitting",
    "load": "models.loading",
}
moved.install()


def __getattr__(name: str) -> Any:
    if name == "BadPicture":  # of earlier versions
        warnings.warn("prompt_jax.BadPicture is now BadImage", FutureWarning, stacklevel=2)
        name = "BadImage"
    if name == "__version__":
        return importlib.metadata.version("prompt_jax")
    if name in _PLACES:
        return getattr(importlib.import_module(f"prompt_jax.{_PLACES[name]}"), name)
    raise AttributeError(f"module 'prompt_jax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

"""Prompt tuning of frozen CLIP in JAX and Flax.

    import prompt_jax as pj
    model = pj.load("results/pro_mpt")
    print(model.predict(["cat.jpg", "dog.jpg"]))

`load` reads a trained model or a bare backbone, `fit` trains one from pictures and labels.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prompt_jax.errors import BadPicture, DataError, PromptError
    from prompt_jax.fitting import fit
    from prompt_jax.loading import load
    from prompt_jax.model import Model
    from prompt_jax.predictions import Prediction, Predictions

__all__ = [
    "BadPicture",
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
    "BadPicture": "errors",
    "DataError": "errors",
    "Model": "model",
    "Prediction": "predictions",
    "Predictions": "predictions",
    "PromptError": "errors",
    "fit": "fitting",
    "load": "loading",
}


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(importlib.import_module(f"prompt_jax.{_PLACES[name]}"), name)
    raise AttributeError(f"module 'prompt_jax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

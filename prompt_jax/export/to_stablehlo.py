"""Exports the JAX model as one StableHLO program with weights, for any batch size and device."""

import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from prompt_jax import methods
from prompt_jax.clip import CLIP, Frozen
from prompt_jax.errors import PromptError
from prompt_jax.models import loading
from prompt_jax.models.saved import Saved
from prompt_jax.storage.files import write_bytes

PLATFORMS = ("cpu", "cuda", "tpu")
# Programs record stack traces, which hold paths of this machine. Without frames, older JAX still
# records the path of the file.
_WITHOUT_PATHS = {
    "jax_traceback_in_locations_limit": 0,
    "jax_hlo_source_file_canonicalization_regex": ".*",
}
_TRIED = 3  # batch size
_CLOSE = 1e-3


def check_packages() -> None:
    """Does nothing: JAX needs no further package to write this format."""


def write(folder: pathlib.Path, model: Saved, frozen: Frozen, own: str = "") -> float:
    """Writes model.stablehlo: normalized images float32[b, S, S, 3] -> logits float32[b, K].

    For videos, the input is float32[b, F, S, S, 3]. Everything that does not depend on images is
    stored as a constant. `own`, a PyTorch class of the user, is not needed.

    Returns:
        the largest difference between the logits of the file and of the model.

    Raises:
        PromptError: the logits differ.
    """
    del own
    run, shape = build(model, frozen), model.inputs.shape
    [batch] = jax.export.symbolic_shape("b")
    example = jax.ShapeDtypeStruct((batch, *shape), jnp.float32)
    before = {name: getattr(jax.config, name) for name in _WITHOUT_PATHS}
    _configure(_WITHOUT_PATHS)
    try:
        program = jax.export.export(run, platforms=PLATFORMS)(example)
    finally:
        _configure(before)
    path = folder / "model.stablehlo"
    write_bytes(path, bytes(program.serialize()))
    images = np.random.default_rng(0).standard_normal((_TRIED, *shape)).astype(np.float32)
    found = jax.export.deserialize(bytearray(path.read_bytes())).call(images)
    worst = float(np.abs(np.asarray(found) - np.asarray(run(images))).max())
    if not worst <= _CLOSE:
        raise PromptError(
            f"model.stablehlo: its logits differ from the model's by {worst:.2g}; at most "
            f"{_CLOSE:g} is allowed: use model.py"
        )
    return worst


def build(model: Saved, frozen: Frozen) -> Any:
    """Returns the compiled function from normalized images float32[b, S, S, 3] to logits [b, K]."""
    method, settings = loading.method_of(model)
    # Without chunks, which depend on the batch size.
    clip = CLIP(model.sizes, jnp.dtype(model.dtype), precision=model.precision)
    clip = methods.tower_for(method, clip, model.kind)
    frozen, prompts = jax.tree.map(jnp.asarray, (frozen, model.prompts))
    made = method, clip, frozen, model.class_names, settings, model.template
    task = methods.make_task(*made, texts=model.texts)
    prepared = jax.jit(method.prepare)(prompts, task)

    @jax.jit
    def run(images):
        x = methods.encode_input(method, task, images)
        return method.forward(prompts, prepared, task, x).logits[-1]

    return run


def _configure(values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        jax.config.update(name, value)

"""Runs a program on images or videos in batches, while the next ones are read.

Of methods whose predictions depend on the other images, the features are computed in batches, and
the predictions from all of them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from prompt_jax.cli import progress
from prompt_jax.errors import BadImage
from prompt_jax.evaluation import blocks
from prompt_jax.inputs.batching import in_batches, sizes_for
from prompt_jax.inputs.preparation import Inputs
from prompt_jax.training.sharding import Placement


def run(
    program: Callable[[jax.Array], jax.Array],
    items: Sequence[Any],
    inputs: Inputs,
    batch_size: int,
    title: str = "",
    on_error: Callable[[BadImage], None] | None = None,
) -> tuple[np.ndarray, dict[int, BadImage]]:
    """Returns a program's outputs, float32[P, …], and the errors of unreadable items by number.

    Args:
        program: the function of a batch float32[B, *inputs.shape]; all devices are used.
        items: P images or videos, see `preparation.as_items`.
        inputs: their preprocessing.
        batch_size: items per step, at most.
        title: title of the progress bar; "" shows none.
        on_error: called with each error; its item's outputs are NaN. None raises the error.

    Raises:
        BadImage: see `on_error`.
    """
    errors: dict[int, BadImage] = {}
    if not items:
        blank = jax.ShapeDtypeStruct((1, *inputs.shape), jnp.float32)
        return np.zeros((0, *jax.eval_shape(program, blank).shape[1:]), np.float32), errors
    placement = Placement()
    sizes = sizes_for(batch_size, placement.data)
    done, waiting, out = 0, None, None
    with progress.bar(title, len(items)) if title else progress.silence() as advance:
        for batch in in_batches(items, inputs, sizes, on_error):
            errors |= batch.errors
            found = program(placement.split(batch.images))
            # The device computes this batch while the next one is read.
            if waiting is not None:
                _put(out, *waiting)
            else:
                out = np.full((len(items), *found.shape[1:]), np.nan, np.float32)
            waiting = (batch.places, found)
            done += len(batch.places) + len(batch.errors)
            advance(done, "")
        if waiting is not None:
            _put(out, *waiting)
    assert out is not None
    return out, errors


def run_on_features(
    program: Callable[[jax.Array], jax.Array],
    encode: Callable[[jax.Array], jax.Array],
    most: int,
    items: Sequence[Any],
    *rest: Any,
) -> tuple[np.ndarray, dict[int, BadImage]]:
    """Returns the same as `run` for a program whose outputs depend on the other items.

    Args:
        program: the function of a block of features, those of all items if there are not more than
            `most`.
        encode: the function from a batch to its features.
        most: items of a block, at most.
        items, rest: see `run`, to which they are passed.
    """
    features, errors = run(encode, items, *rest)
    right = np.array([number for number in range(len(items)) if number not in errors], int)
    blank = jax.ShapeDtypeStruct((1, *features.shape[1:]), jnp.float32)
    out = np.full((len(items), *jax.eval_shape(program, blank).shape[1:]), np.nan, np.float32)
    for rows in blocks.split(len(right), most):
        places = right[np.unique(rows)]
        out[places] = np.asarray(program(jnp.asarray(features[right[rows]])))[: len(places)]
    return out, errors


def _put(out, places, found):
    out[places] = np.asarray(found, np.float32)[: len(places)]

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
from prompt_jax.inputs.batching import OnError, check_on_error, in_batches, sizes_for, split
from prompt_jax.inputs.preparation import Inputs, as_items, name_of
from prompt_jax.training.sharding import Placement

MANY = 256  # images or videos from which on a progress bar is shown


def run_given(
    program: Callable[[jax.Array], jax.Array],
    given: Any,
    blocks: tuple[int, Callable[[jax.Array], jax.Array]],
    inputs: Inputs,
    batch_size: int,
    title: str,
    on_error: OnError | None,
) -> tuple[tuple[str, ...], np.ndarray, dict[int, BadImage]]:
    """Returns the names of what the user passed, a program's outputs, and the errors by number.

    Args:
        program, inputs, batch_size, title, on_error: see `run`.
        given: see `preparation.as_items`.
        blocks: `most` and `encode` of `run_on_features`; 0 for a program of single items.

    Raises:
        PromptError: `on_error` is neither a function nor None.
        BadImage: see `run`.
    """
    check_on_error(on_error)
    items = as_items(given, inputs, keep=on_error is not None)
    names = tuple(name_of(item, number) for number, item in enumerate(items))
    how = items, inputs, batch_size, title if len(items) >= MANY else "", on_error
    most, encode = blocks
    if not most:
        return names, *run(program, *how)
    return names, *run_on_features(program, encode, most, *how)


def run(
    program: Callable[[jax.Array], jax.Array],
    items: Sequence[Any],
    inputs: Inputs,
    batch_size: int,
    title: str = "",
    on_error: OnError | None = None,
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
    placement = Placement()
    cheapest = jax.default_backend() == "cpu"
    sizes = split(len(items), sizes_for(batch_size, placement.data), cheapest)
    done, waiting, out = 0, None, None
    with progress.bar(title, len(items)) if title else progress.silence() as advance:
        for batch in in_batches(items, inputs, sizes, on_error):
            errors |= batch.errors
            done += len(batch.places) + len(batch.errors)
            if len(batch.places):
                found = program(placement.split(batch.images))
                # The device computes this batch while the next one is read.
                if out is None:
                    out = np.full((len(items), *found.shape[1:]), np.nan, np.float32)
                if waiting is not None:
                    _put(out, *waiting)
                waiting = (batch.places, found)
            advance(done, "")
        if waiting is not None:
            _put(out, *waiting)
    if out is None:  # nothing was computed
        blank = jax.ShapeDtypeStruct((1, *inputs.shape), jnp.float32)
        shape = jax.eval_shape(program, blank).shape[1:]
        out = np.full((len(items), *shape), np.nan, np.float32)
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

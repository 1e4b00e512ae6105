"""The arrays of a trained model: those that its method makes, of finite numbers, and no others."""

import dataclasses
import hashlib
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from prompt_jax import methods
from prompt_jax.clip import CLIP
from prompt_jax.clip.checkpoints.layouts import parameter_shapes
from prompt_jax.clip.packing import PackedTokens
from prompt_jax.errors import PromptError, escape
from prompt_jax.methods import Task
from prompt_jax.prompts import ClassTokens
from prompt_jax.storage.files import read_bytes

MOST_BYTES = 16 * 2**30
"""Of all arrays; the largest CLIP of open_clip, fine-tuned as a whole, has 10 GB."""

Shapes = dict[str, str]
"""Array names to "float32[16, 512]", as `prompts.arrays` of model.json says them."""

MOST_LOADED = 3 * 2**28
"""Of a model's arrays that are not a whole tower's; loading takes twice as much. GDA's of ImageNet
with 16 shots and 10 views, of 1024 numbers each, have 0.66 GB."""

ALLOWED = "PROMPT_JAX_MOST_GIB"
"""Environment variable: so many GiB of arrays are read in place of `MOST_LOADED`."""

_HEADER = 2**16  # bytes of a safetensors file beside the arrays, and so many more for each
_HEADER_OF_ONE = 512
_SHAPE = re.compile(r"(\w+)\[((?:\d{1,12}(?:, )?)*)\]")


def flatten(prompts: Any) -> dict[str, Any]:
    """Returns the leaves of a pytree by their places, joined by full stops."""
    return flax.traverse_util.flatten_dict(prompts, sep=".")


def describe(arrays: Mapping[str, Any]) -> Shapes:
    """Returns types and shapes of arrays, by name."""
    return {name: f"{array.dtype}{list(array.shape)}" for name, array in arrays.items()}


def check(declared: Shapes, model: Any) -> None:
    """Holds names, types and shapes of arrays against those that a model's method makes.

    Nothing of their size is computed or kept.

    Args:
        declared: what the model says, or has.
        model: a `saved.Saved` whose fields are checked; its prompts are not looked at.

    Raises:
        PromptError: names the array, or the settings that make none.
    """
    made = _made(declared, model)
    for name in sorted({*declared, *made}):
        if declared.get(name) != made.get(name):
            raise PromptError(
                f"prompts.arrays.{escape(name)[:200]}: {declared.get(name, 'it is missing')}; "
                f"{model.method} of these settings, sizes and classes has "
                f"{made.get(name, 'no such array')}"
            )


def size_of(declared: Shapes) -> int:
    """Returns the bytes of all arrays.

    Raises:
        PromptError: it is no shape, or far too much.
    """
    total = 0
    for name, text in declared.items():
        if not (found := _SHAPE.fullmatch(text)):
            raise PromptError(f"prompts.arrays.{escape(name)[:200]}: {text!r} is no type and shape")
        try:
            width = jnp.dtype(found[1]).itemsize
        except TypeError:
            raise PromptError(
                f"prompts.arrays.{escape(name)[:200]}: {found[1]!r} is no type of numbers"
            ) from None
        total += width * int(np.prod(_numbers(found[2]), dtype=object))
    if total > MOST_BYTES:
        raise PromptError(f"prompts.arrays: they are of {total:,} bytes; at most {MOST_BYTES:,}")
    return total


def check_loaded(declared: Shapes, name: str) -> None:
    """Checks that arrays of a method are no more than is loaded of what a stranger may have sent.

    Raises:
        PromptError: says how much, and how more is allowed.
    """
    record = methods.find_record(name, "videos")
    large = methods.outside.is_outside(name) or (record is not None and record.large)
    most = MOST_BYTES if large else MOST_LOADED
    if (allowed := os.environ.get(ALLOWED, "")) and allowed.isdecimal():
        most = min(int(allowed[:4]) * 2**30, MOST_BYTES)
    if (size := size_of(declared)) > most:
        raise PromptError(
            f"prompts.arrays: they are of {size:,} bytes; at most {most:,} are loaded. If you "
            f"trained it, or trust it, set {ALLOWED}={-(-size // 2**30)}"
        )


def read(path: pathlib.Path, declared: Shapes, digest: str) -> dict[str, np.ndarray]:
    """Returns the arrays of a safetensors file, by name.

    Args:
        path: the file; no more of it is read than these arrays take.
        declared: its arrays.
        digest: SHA-256 of its content.

    Raises:
        OSError: it cannot be read.
        PromptError: it is another file.
    """
    other = (
        f"{path} is not what model.json was written with: one of the two was changed or damaged; "
        "take both from where they came from again"
    )
    most = size_of(declared) + _HEADER + _HEADER_OF_ONE * len(declared)
    try:
        content = read_bytes(path, most)
    except ValueError as error:
        raise PromptError(f"{other} ({error})") from None
    if hashlib.sha256(content).hexdigest() != digest:
        raise PromptError(other)
    try:
        arrays = safetensors.numpy.load(content)
    except (safetensors.SafetensorError, ValueError, TypeError, KeyError) as error:
        raise PromptError(f"{path} cannot be read ({escape(str(error))[:200]})") from None
    if describe(arrays) != declared:
        raise PromptError(f"{other} (its arrays are not those of prompts.arrays)")
    return arrays


def check_finite(arrays: Mapping[str, np.ndarray]) -> None:
    """Raises a PromptError that names the array which holds an infinite number, or none."""
    for name, array in arrays.items():
        # The sum of finite numbers is one that is finite, or too large; then look again.
        with np.errstate(all="ignore"):
            if not np.isfinite(np.sum(array)) and not np.isfinite(array).all():
                raise PromptError(
                    f"prompts.{name}: some of its numbers are infinite or no numbers; what was "
                    "trained is of no use"
                )


def _made(declared: Shapes, model: Any) -> Shapes:
    """The arrays that the method makes; of one that is made from shots, of as many as declared."""
    method = methods.find(model.method, model.kind, model.task)
    task = _abstract_task(model, method)
    key = jax.eval_shape(lambda: jax.random.key(0))
    try:
        prompts = _trace(model, method.init, key, task)
    except PromptError:  # it may start from its constants, which take a while to trace
        names, template = model.class_names, model.template
        constants = _trace(model, lambda task: method.constants(task, names, template), task)
        task = dataclasses.replace(task, constants=constants)
        prompts = _trace(model, method.init, key, task)
    if (adaptation := method.adaptation) is None:
        return describe(flatten(prompts))

    def of_shots(number: int) -> dict[str, Any]:
        features = jax.ShapeDtypeStruct((1, number, model.sizes.embed_dim), jnp.float32)
        labels = jax.ShapeDtypeStruct((number,), jnp.int32)
        return flatten(_trace(model, adaptation.make, prompts, task, features, labels))

    try:
        one, two = of_shots(1), of_shots(2)
    except _Untraceable:
        return declared  # computed by NumPy: of what shapes, only its shots would tell
    for name, array in one.items():
        axes = [n for n, size in enumerate(array.shape) if two[name].shape[n] != size]
        if not axes or not (found := _SHAPE.fullmatch(declared.get(name, ""))):
            continue
        there = _numbers(found[2])
        if len(there) != array.ndim or not 0 < there[axes[0]] <= MOST_BYTES:
            break
        return describe(of_shots(there[axes[0]]))
    return describe(one)


class _Untraceable(PromptError):
    """A method from outside wants numbers, not their shapes."""


def _trace(model: Any, function: Any, *arguments: Any) -> Any:
    try:
        return jax.eval_shape(function, *arguments)
    except PromptError:
        raise
    # A stranger's settings fail in ways that no table lists, and so may methods from outside.
    except Exception as error:
        reason = escape(f"{type(error).__name__}: {error}".splitlines()[0])[:200]
        kind = _Untraceable if isinstance(error, jax.errors.JAXTypeError) else PromptError
        raise kind(f"settings: {model.method} of these makes no prompts ({reason})") from None


def _abstract_task(model: Any, method: methods.Method) -> Task:
    """A task of the model's classes in which no array has numbers."""
    number = len(model.class_names)

    def whole(*shape: int) -> Any:
        return jax.ShapeDtypeStruct(shape, jnp.int32)

    shapes = parameter_shapes(model.sizes).items()
    frozen = {path: jax.ShapeDtypeStruct(shape, jnp.float32) for path, shape in shapes}
    packed = PackedTokens(whole(1, 4), whole(1, 4), whole(1, 1), whole(number))
    return Task(
        frozen=flax.traverse_util.unflatten_dict(frozen, sep="/"),
        names=ClassTokens(whole(1), whole(number, 4), whole(number), packed),
        trained=whole(number),
        constants=None,
        clip=CLIP(model.sizes),
        settings=method.Settings(**model.settings),
    )


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(", ")] if text else []

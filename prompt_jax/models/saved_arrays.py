"""Reads the arrays of a trained model, and checks their names, shapes and values."""

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
"""Of all arrays; the largest CLIP of open_clip, fully fine-tuned, has 10 GB."""

Shapes = dict[str, str]
"""Array names to "float32[16, 512]", as `prompts.arrays` in model.json."""

MOST_LOADED = 3 * 2**28
"""Bytes of arrays, unless the method tunes whole towers; loading takes twice as much memory. GDA on
ImageNet with 16 shots, 10 views and 1024-dimensional features has 0.66 GB."""

ALLOWED = "PROMPT_JAX_MOST_GIB"
"""Environment variable: limit in GiB in place of `MOST_LOADED`."""

_HEADER = 2**16  # bytes of a safetensors header, in addition to those per array
_HEADER_OF_ONE = 512
_SHAPE = re.compile(r"(\w+)\[((?:\d{1,12}(?:, )?)*)\]")


def flatten(prompts: Any) -> dict[str, Any]:
    """Returns the leaves of a pytree by their paths, joined by dots."""
    return flax.traverse_util.flatten_dict(prompts, sep=".")


def describe(arrays: Mapping[str, Any]) -> Shapes:
    """Returns types and shapes of arrays, by name."""
    return {name: f"{array.dtype}{list(array.shape)}" for name, array in arrays.items()}


def check(declared: Shapes, model: Any) -> None:
    """Checks names, types and shapes of arrays against those of the model's method.

    Uses abstract evaluation, so that no memory of the declared size is allocated.

    Args:
        declared: names and shapes of the model's arrays.
        model: a `saved.Saved` whose other fields are checked; its prompts are ignored.

    Raises:
        PromptError: names the array, or the settings that are invalid.
    """
    made = _made(declared, model)
    for name in sorted({*declared, *made}):
        if declared.get(name) != made.get(name):
            raise PromptError(
                f"prompts.arrays.{escape(name)[:200]}: {declared.get(name, 'it is missing')}; "
                f"{model.method} with these settings, sizes and classes has "
                f"{made.get(name, 'no such array')}"
            )


def size_of(declared: Shapes) -> int:
    """Returns the total size of all arrays in bytes.

    Raises:
        PromptError: a shape is invalid, or the total exceeds `MOST_BYTES`.
    """
    total = 0
    for name, text in declared.items():
        if not (found := _SHAPE.fullmatch(text)):
            raise PromptError(
                f"prompts.arrays.{escape(name)[:200]}: {text!r} is not a type and shape such as "
                "float32[16, 512]"
            )
        try:
            width = jnp.dtype(found[1]).itemsize
        except TypeError:
            raise PromptError(
                f"prompts.arrays.{escape(name)[:200]}: {found[1]!r} is not a number type"
            ) from None
        total += width * int(np.prod(_numbers(found[2]), dtype=object))
    if total > MOST_BYTES:
        raise PromptError(f"prompts.arrays: they have {total:,} bytes; at most {MOST_BYTES:,}")
    return total


def check_loaded(declared: Shapes, name: str) -> None:
    """Checks the size of a method's arrays, as a model may come from an untrusted source.

    Raises:
        PromptError: states the size, the limit and how to raise it.
    """
    record = methods.find_record(name, "videos")
    large = methods.outside.is_outside(name) or (record is not None and record.large)
    most = MOST_BYTES if large else MOST_LOADED
    if (allowed := os.environ.get(ALLOWED, "")) and allowed.isdecimal():
        most = min(int(allowed[:4]) * 2**30, MOST_BYTES)
    if (size := size_of(declared)) > most:
        raise PromptError(
            f"prompts.arrays: they have {size:,} bytes; at most {most:,} are loaded. If you trust "
            f"this model, set {ALLOWED}={-(-size // 2**30)}"
        )


def read(path: pathlib.Path, declared: Shapes, digest: str) -> dict[str, np.ndarray]:
    """Returns the arrays of a safetensors file, by name.

    Args:
        path: the file; at most the size of these arrays is read.
        declared: names and shapes of its arrays.
        digest: SHA-256 of its content.

    Raises:
        OSError: it cannot be read.
        PromptError: it does not match.
    """
    other = (
        f"{path} does not match model.json: one of the two was changed or damaged; copy both again "
        "from their source"
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
        raise PromptError(f"{other} (its arrays differ from prompts.arrays)")
    return arrays


def check_finite(arrays: Mapping[str, np.ndarray]) -> None:
    """Raises a PromptError that names an array with NaN or infinite values."""
    for name, array in arrays.items():
        # A finite sum proves that all are finite, without a temporary array; else check each.
        with np.errstate(all="ignore"):
            if not np.isfinite(np.sum(array)) and not np.isfinite(array).all():
                raise PromptError(
                    f"prompts.{name}: it has NaN or infinite values, so the model is unusable; "
                    "train it again, for example with a lower learning rate"
                )


def _made(declared: Shapes, model: Any) -> Shapes:
    """Returns the arrays of the method; for methods that store shots, of the declared number."""
    method = methods.find(model.method, model.kind, model.task)
    task = _abstract_task(model, method)
    key = jax.eval_shape(lambda: jax.random.key(0))
    try:
        prompts = _trace(model, method.init, key, task)
    except PromptError:  # it may need its constants, which are slow to trace
        names, template = model.class_names, model.template
        constants = _trace(model, lambda task: method.constants(task, names, template), task)
        task = dataclasses.replace(task, constants=constants)
        prompts = _trace(model, method.init, key, task)
    if (adaptation := method.adaptation) is None:
        return describe(flatten(prompts))

    def of_shots(number: int) -> dict[str, Any]:
        features = jax.ShapeDtypeStruct((1, number, model.sizes.embed_dim), jnp.float32)
        labels = jax.ShapeDtypeStruct((number,), jnp.int32)
        more = (features.update(shape=features.shape[1:]),) if adaptation.captions else ()
        return flatten(_trace(model, adaptation.make, prompts, task, features, labels, *more))

    try:
        one, two = of_shots(1), of_shots(2)
    except _Untraceable:
        return declared  # computed with NumPy, so that shapes are known only with real shots
    for name, array in one.items():
        axes = [n for n, size in enumerate(array.shape) if two[name].shape[n] != size]
        if not axes or not (found := _SHAPE.fullmatch(declared.get(name, ""))):
            continue
        shape = _numbers(found[2])
        if len(shape) != array.ndim or not 0 < shape[axes[0]] <= MOST_BYTES:
            break
        return describe(of_shots(shape[axes[0]]))
    return describe(one)


class _Untraceable(PromptError):
    """An error of an external method that needs concrete arrays, not shapes."""


def _trace(model: Any, function: Any, *arguments: Any) -> Any:
    try:
        return jax.eval_shape(function, *arguments)
    except PromptError:
        raise
    # Settings of an untrusted model, and external methods, can raise any error.
    except Exception as error:
        reason = escape(f"{type(error).__name__}: {error}".splitlines()[0])[:200]
        kind = _Untraceable if isinstance(error, jax.errors.JAXTypeError) else PromptError
        raise kind(f"settings: {model.method} fails with these settings ({reason})") from None


def _abstract_task(model: Any, method: methods.Method) -> Task:
    """Returns a task of the model's classes with shapes in place of arrays."""
    number = len(model.class_names)

    def ints(*shape: int) -> Any:
        return jax.ShapeDtypeStruct(shape, jnp.int32)

    shapes = parameter_shapes(model.sizes).items()
    frozen = {path: jax.ShapeDtypeStruct(shape, jnp.float32) for path, shape in shapes}
    packed = PackedTokens(ints(1, 4), ints(1, 4), ints(1, 1), ints(number))
    return Task(
        frozen=flax.traverse_util.unflatten_dict(frozen, sep="/"),
        names=ClassTokens(ints(1), ints(number, 4), ints(number), packed),
        trained=ints(number),
        constants=None,
        clip=CLIP(model.sizes),
        settings=method.Settings(**model.settings),
    )


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(", ")] if text else []

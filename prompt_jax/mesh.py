"""The mesh of devices: `data` splits batches, `model` splits classes.

Methods do not know about the mesh. Their inputs are placed on it (`training.sharding`), and a few
shared functions name the axes of large intermediate results with `constrain`; XLA's partitioner
derives everything else. An axis need not divide the number of classes: the partitioner pads and
masks them inside the program, so losses and means never see the padding. The exception are sums
by index, see `take_rows` and `sum_rows`.
"""

import re
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from prompt_jax.cli import hosts
from prompt_jax.errors import PromptError, shorten, unknown

DATA, MODEL = "data", "model"
AXES = (DATA, MODEL)
EXAMPLE = "data:4,model:2"

Axes = str | tuple[str, ...] | None
"""The axes of the mesh along which one axis of an array is split; None: not split."""


def parse_mesh(text: str, devices: Sequence[jax.Device], field: str = "mesh") -> Mesh:
    """Returns the mesh of all devices that a text like "data:4,model:2" describes.

    An axis `data` that is left out takes the remaining devices; "" is one axis, `data`, over all.

    Args:
        text: the text; see `read_axes`.
        devices: all devices of the run, also of other hosts, or described ones of a topology.
        field: the field or flag that holds the text, for messages.

    Raises:
        PromptError: the text is malformed, or the mesh does not use all devices; lists those
            that do.
    """
    sizes, number = read_axes(text, field), len(devices)
    model = sizes.get(MODEL, 1)
    data = sizes.get(DATA, max(1, number // model))
    if data * model != number:
        fitting = [describe(number // n, n) for n in range(1, number + 1) if number % n == 0]
        raise PromptError(
            f"{field}={text!r} is a mesh of {data * model} devices, and there "
            f"{'is 1' if number == 1 else f'are {number}'}; use {' or '.join(fitting)}"
        )
    kinds, of_host = (AxisType.Auto,) * 2, divmod(data, hosts.count())
    if hosts.count() == 1 or of_host[1]:
        try:
            return jax.make_mesh((data, model), AXES, kinds, devices=list(devices))
        except NotImplementedError:  # `model` is a part of an axis of a TPU's network
            ordered = mesh_utils.create_device_mesh(
                (data, model), list(devices), allow_split_physical_axes=True
            )
            return Mesh(ordered, AXES, axis_types=kinds)
    # A host reads the part of a batch for its devices, so these must be neighbors along `data`.
    ordered = mesh_utils.create_hybrid_device_mesh(
        (of_host[0], model), (hosts.count(), 1), list(devices), process_is_granule=True
    )
    return Mesh(ordered, AXES, axis_types=kinds)


def read_axes(text: str, field: str = "mesh") -> dict[str, int]:
    """Reads the sizes of the axes from a text like "data:4,model:2"; {} from "".

    Raises:
        PromptError: an axis is unknown or named twice, or its size is not a whole number above 0.
    """
    sizes: dict[str, int] = {}
    for part in text.split(",") if text else ():
        axis, _, number = part.strip().partition(":")
        if axis not in AXES:
            raise unknown(f"axis of {field}={shorten(text)}:", axis, AXES)
        if axis in sizes or not re.fullmatch("[1-9][0-9]{0,8}", number):
            raise PromptError(
                f"{field}={shorten(text)} has {shorten(part.strip())}; it must name each axis "
                f"once, with the number of its devices, e.g. {EXAMPLE}"
            )
        sizes[axis] = int(number)
    return sizes


def describe(data: int, model: int) -> str:
    """Returns the text of a mesh, as `parse_mesh` reads it."""
    return f"{DATA}:{data}" + (f",{MODEL}:{model}" if model > 1 else "")


def size(mesh: Mesh | None, *axes: str) -> int:
    """Returns the number of parts into which the axes together split an array; 1 without a mesh."""
    number = 1
    for axis in axes:
        number *= mesh.shape[axis] if mesh is not None else 1
    return number


def text_axes(mesh: Mesh | None, groups: int) -> Axes:
    """Returns the axes that split the rows of texts packed in so many groups.

    Class names have a group for each part along `model`. Captions of a batch have one for each
    device; neighboring groups differ along `data`, so that gathering along it gives whole parts
    along `model`.
    """
    if groups == size(mesh, MODEL):
        return MODEL
    return (MODEL, DATA) if groups == size(mesh, *AXES) else None


def constrain(mesh: Mesh | None, x: jax.Array, *axes: Axes) -> jax.Array:
    """Splits an array inside a compiled program along axes of the mesh.

    Args:
        mesh: None, or a mesh of one device, returns the array unchanged.
        x: any array.
        axes: of the last axes of `x`; XLA chooses for those before.
    """
    if mesh is None or mesh.size == 1:
        return x
    before = (PartitionSpec.UNCONSTRAINED,) * (x.ndim - len(axes))
    return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, PartitionSpec(*before, *axes)))


def split_batch(mesh: Mesh | None, tree: Any, of_image: int = 2) -> Any:
    """Splits the first axis of arrays along `data` alone, inside a compiled program.

    Left to itself, the partitioner may split the tokens of an image along `model`, and gathers them
    in every layer.

    Args:
        mesh: see `constrain`.
        tree: arrays; those without a batch axis are replicated.
        of_image: number of their axes that are not of the batch.
    """

    def split(x: jax.Array) -> jax.Array:
        batch = (DATA,) if x.ndim > of_image else ()
        return constrain(mesh, x, *batch, *(None,) * (x.ndim - len(batch)))

    return jax.tree.map(split, tree)


def replicate(mesh: Mesh | None, tree: Any) -> Any:
    """Replicates all arrays of a tree over the devices, inside a compiled program."""
    return jax.tree.map(lambda x: constrain(mesh, x, *(None,) * x.ndim), tree)


def take_rows(mesh: Mesh | None, array: jax.Array, rows: jax.Array) -> jax.Array:
    """Returns rows of a trained array, e.g. those of classes, replicated over the devices.

    XLA's partitioner may split the rows along an axis that does not divide their number. Where it
    adds their gradients into those of the array, it then also adds those of its padding, which it
    does not mask, into row 0.
    """
    return constrain(mesh, array[rows], *(None,) * array.ndim)


def sum_rows(array: jax.Array, owner: jax.Array, number: int) -> jax.Array:
    """Returns the sums of the rows of each of `number` owners.

    A product, because a segment sum would add the partitioner's padding to row 0, as in
    `take_rows`.
    """
    owned = (owner == jnp.arange(number)[:, None]).astype(array.dtype)
    return jnp.matmul(owned, array, precision="highest")

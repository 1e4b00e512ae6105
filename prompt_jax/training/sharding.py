"""Places arrays on a mesh of devices, see `prompt_jax.mesh`."""

import dataclasses
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding

from prompt_jax.cli import hosts
from prompt_jax.clip import Frozen
from prompt_jax.clip.layers import STACKED
from prompt_jax.clip.packing import PackedTokens
from prompt_jax.errors import PromptError, installing
from prompt_jax.mesh import DATA, MODEL, Axes, parse_mesh, size, text_axes
from prompt_jax.methods import Task

__all__ = ["Placement", "find_devices", "parse_mesh"]


def find_devices() -> list[jax.Device]:
    """Returns all devices that JAX computes on.

    Raises:
        PromptError: JAX_PLATFORMS names devices that are missing or not supported by this JAX; or
            some belong to other hosts, which the process has not joined.
    """
    try:
        devices = jax.devices()
    except (RuntimeError, AssertionError) as error:  # AssertionError for cuda without its package
        asked = os.environ.get("JAX_PLATFORMS") or getattr(jax.config, "jax_platforms", None)
        if not asked:
            raise
        reason = f" ({str(error).splitlines()[0].split(' (set ')[0]})" if str(error) else ""
        raise PromptError(
            f"JAX_PLATFORMS={asked}: JAX finds no such device; install its package "
            f"({installing('cuda12')}, or with tpu), or unset JAX_PLATFORMS to use the available "
            f"device{reason}"
        ) from error
    if jax.process_count() != hosts.count():
        raise PromptError(
            f"JAX finds the devices of {jax.process_count()} hosts; only experiments.main trains "
            "on several: start it with --distributed on each of them"
        )
    return devices


def put(tree: Any, shardings: Any) -> Any:
    """Returns arrays on devices; with several hosts, each has them in full.

    Args:
        tree: arrays.
        shardings: one for all arrays, or a tree like `tree`.
    """
    if hosts.count() == 1:
        return jax.device_put(tree, shardings)

    def place(x: Any, sharding: Sharding) -> jax.Array:
        if isinstance(x, jax.Array) and not x.is_fully_addressable:
            return jax.device_put(x, sharding)
        # `device_put` would compare the arrays of all hosts, which takes long for a backbone.
        array = np.asarray(x)
        return jax.make_array_from_callback(array.shape, sharding, array.__getitem__)

    if isinstance(shardings, Sharding):
        return jax.tree.map(lambda x: place(x, shardings), tree)
    return jax.tree.map(place, tree, shardings)


class Placement:
    """Puts arrays on a mesh of devices: batches along `data`, classes along `model`.

    Attributes:
        mesh: the mesh of all devices of the run, see `parse_mesh`.
        data, model: sizes of its axes.
        devices: number of its devices.
        replicated: the sharding of arrays that are the same on all devices.
        shard_frozen: whether the backbone's weights are split too: along `model`, or along `data`
            if `model` has a single device. Each layer's weights are then gathered when it runs.
    """

    def __init__(self, mesh: Mesh | None = None, shard_frozen: bool = False):
        """Takes the mesh; by default all devices along `data`."""
        self.mesh = parse_mesh("", find_devices()) if mesh is None else mesh
        self.data, self.model = size(self.mesh, DATA), size(self.mesh, MODEL)
        self.devices, self.shard_frozen = self.data * self.model, shard_frozen
        self.replicated = self._along()

    @property
    def share(self) -> tuple[int, int]:
        """Returns which part of a batch the devices of this host take, and the number of parts.

        Raises:
            PromptError: its devices are not neighbors along `data`.
        """
        if hosts.count() == 1:
            return 0, 1
        rows = [
            number
            for number, row in enumerate(self.mesh.devices)
            if any(device.process_index == jax.process_index() for device in row)
        ]
        first, number = rows[0], len(rows)
        if first % number or self.data % number or rows[-1] - first >= number:
            raise PromptError(
                f"the mesh {DATA}:{self.data},{MODEL}:{self.model} does not give each host an "
                f"equal part of a batch; use a size of {MODEL} that divides the number of devices "
                "of a host, or a multiple of that number"
            )
        return first // number, self.data // number

    def connect_hosts(self) -> None:
        """Connects the devices of all hosts along each axis; all call it at the same time.

        At the first exchange, XLA waits at most 30 s on CPUs, and hosts compile at different
        speeds.
        """
        if hosts.count() == 1:
            return
        hosts.gather("connect", None)
        ones = np.ones((self.data, self.model), np.float32)
        for axes in ((DATA, None), (None, MODEL), (DATA, MODEL)):
            total = jax.jit(jnp.sum, out_shardings=self.replicated)
            total(put(ones, self._along(*axes))).block_until_ready()

    def replicate(self, tree: Any) -> Any:
        """Returns the arrays of `tree`, replicated over the devices."""
        return put(tree, self.replicated)

    def put_frozen(self, frozen: Frozen) -> Frozen:
        """Returns the weights of the backbone on the devices; see `of_frozen`."""
        return put(frozen, self.of_frozen(frozen))

    def put_task(self, task: Task) -> Task:
        """Returns a task with its arrays on the devices; see `of_task`."""
        return put(task, self.of_task(task))

    def split(self, batch: Any, *before: None) -> Any:
        """Returns a host batch with the first axis of each array split along `data`.

        With several hosts, each gives its `share` of a batch, but all of `PackedTokens`.

        Args:
            batch: arrays [batch, …] and `PackedTokens`.
            before: None for each axis in front of the batch's.
        """
        shardings = self.of_batch(batch, *before)
        if hosts.count() == 1:
            return put(batch, shardings)

        def place(x: Any, sharding: Any) -> Any:
            if _is_packed(x):
                return put(x, sharding)
            return jax.make_array_from_process_local_data(sharding, np.asarray(x))

        return jax.tree.map(place, batch, shardings, is_leaf=_is_packed)

    def place(self, batch: dict[str, Any]) -> Any:
        """Splits a host batch if `data` divides it evenly, and replicates it otherwise."""
        even = len(batch["label"]) * self.share[1] % self.data == 0
        return self.split(batch) if even else self.replicate(batch)

    def split_runs(self, batches: Any) -> Any:
        """Returns host batches of several runs, [runs, batch, …], split along the second axis."""
        return self.split(batches, None)

    def of_frozen(self, frozen: Frozen) -> Any:
        """Returns the sharding of each weight, a tree like `frozen`.

        With `shard_frozen`, kernels and the table of token embeddings are split, along their last
        axis that the devices divide.
        """
        axis = MODEL if self.model > 1 else DATA

        def choose(path: Any, x: Any) -> NamedSharding:
            if self.shard_frozen and path[-1].key in ("kernel", "token_embedding"):
                first = int(jax.tree_util.DictKey(STACKED) in path)  # not the axis over layers
                for number in reversed(range(first, x.ndim)):
                    if x.shape[number] % size(self.mesh, axis) == 0:
                        return self._along(*(None,) * number, axis)
            return self.replicated

        return jax.tree.map_with_path(choose, frozen)

    def of_task(self, task: Task) -> Any:
        """Returns the sharding of each array, a tree like `task`.

        Along `model`, the packed class names and the constants that have a first axis over classes
        are split; constants only if it divides the number of classes.
        """
        classes = len(task.trained)

        def choose(x: Any) -> Any:
            if isinstance(x, PackedTokens):
                return self._along_rows(x)
            even = x.ndim and x.shape[0] == classes and classes % self.model == 0
            return self._along(MODEL) if even else self.replicated

        names = jax.tree.map(lambda _: self.replicated, task.names)
        return dataclasses.replace(
            task,
            frozen=self.of_frozen(task.frozen),
            names=dataclasses.replace(names, packed=self._along_rows(task.names.packed)),
            trained=self.replicated,
            constants=jax.tree.map(choose, task.constants, is_leaf=_is_packed),
        )

    def of_batch(self, batch: Any, *before: None) -> Any:
        """Returns the sharding of each array, a tree like `batch`.

        The rows of captions are split along both axes of the mesh, all else along `data`.

        Args:
            batch: arrays [batch, …] and `PackedTokens`.
            before: None for each axis in front of the batch's.
        """

        def choose(x: Any) -> Any:
            return self._along_rows(x, *before) if _is_packed(x) else self._along(*before, DATA)

        return jax.tree.map(choose, batch, is_leaf=_is_packed)

    def check(self, field: str, number: int) -> None:
        """Checks that `data` divides a batch evenly.

        Raises:
            PromptError: names the field and the nearest sizes that work.
        """
        if number % self.data:
            below = number - number % self.data
            choices = " or ".join(str(n) for n in (below, below + self.data) if n)
            parts = f"{self.data} devices" if self.model == 1 else f"the mesh's {DATA}:{self.data}"
            raise PromptError(f"{field}={number} is not divisible by {parts}; use {choices}")

    def _along(self, *axes: Axes) -> Any:
        return NamedSharding(self.mesh, PartitionSpec(*axes))

    def _along_rows(self, texts: PackedTokens, *before: None) -> PackedTokens:
        rows = self._along(*before, text_axes(self.mesh, texts.groups))
        return dataclasses.replace(
            texts, tokens=rows, position=rows, eot=rows, place=self.replicated
        )


def _is_packed(x: Any) -> bool:
    return isinstance(x, PackedTokens)

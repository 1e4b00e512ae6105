"""Placement of arrays: the batch is split over all devices, everything else is replicated."""

import os
from typing import Any

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from prompt_jax.errors import PromptError, installing


def find_devices() -> list[jax.Device]:
    """Returns all devices that JAX computes on.

    Raises:
        PromptError: JAX_PLATFORMS names devices that are missing, or that JAX was not built for.
    """
    try:
        return jax.devices()
    except (RuntimeError, AssertionError) as error:  # for cuda without its package it asserts
        asked = os.environ.get("JAX_PLATFORMS") or getattr(jax.config, "jax_platforms", None)
        if not asked:
            raise
        reason = f" ({str(error).splitlines()[0].split(' (set ')[0]})" if str(error) else ""
        raise PromptError(
            f"JAX_PLATFORMS={asked}: JAX finds no such device here; install what it needs "
            f"({installing('cuda12')}, or with tpu), or unset JAX_PLATFORMS to compute on what "
            f"there is{reason}"
        ) from error


class Placement:
    """A mesh with one axis, `data`, over all devices of the run."""

    def __init__(self, devices: list[jax.Device] | None = None):
        """Uses all devices unless some are given."""
        devices = find_devices() if devices is None else devices
        mesh = jax.make_mesh((len(devices),), ("data",), (AxisType.Auto,), devices=devices)
        self._batch = NamedSharding(mesh, PartitionSpec("data"))
        self._batch_of_runs = NamedSharding(mesh, PartitionSpec(None, "data"))
        self._everywhere = NamedSharding(mesh, PartitionSpec())
        self.devices = len(devices)

    def replicate(self, tree: Any) -> Any:
        """Returns the arrays of `tree`, replicated over the devices."""
        return jax.device_put(tree, self._everywhere)

    def split(self, batch: Any) -> Any:
        """Returns a host batch with the first axis of each array split over the devices."""
        return jax.device_put(batch, self._batch)

    def place(self, batch: dict[str, Any]) -> Any:
        """Splits a host batch if its size allows it, and replicates it otherwise."""
        even = len(batch["label"]) % self.devices == 0
        return self.split(batch) if even else self.replicate(batch)

    def split_runs(self, batches: Any) -> Any:
        """Returns host batches of several runs, [runs, batch, …], split along the second axis."""
        return jax.device_put(batches, self._batch_of_runs)

    def check(self, field: str, size: int) -> None:
        """Checks that the devices divide a batch evenly.

        Raises:
            PromptError: names the field and the nearest sizes that work.
        """
        if size % self.devices:
            below = size - size % self.devices
            choices = " or ".join(str(n) for n in (below, below + self.devices) if n)
            raise PromptError(
                f"{field}={size} is not divisible by {self.devices} devices; use {choices}"
            )

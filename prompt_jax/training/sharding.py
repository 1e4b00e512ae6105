"""Places arrays on devices: splits batches over all devices and replicates everything else."""

import os
from typing import Any

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from prompt_jax.errors import PromptError, installing


def find_devices() -> list[jax.Device]:
    """Returns all devices that JAX computes on.

    Raises:
        PromptError: JAX_PLATFORMS names devices that are missing or not supported by this JAX.
    """
    try:
        return jax.devices()
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


class Placement:
    """A mesh with one axis, `data`, over all devices of the run."""

    def __init__(self, devices: list[jax.Device] | None = None):
        """Takes the devices; by default all of them."""
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
        """Splits a host batch if the devices divide it evenly, and replicates it otherwise."""
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

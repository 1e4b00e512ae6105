"""The accelerators that a run can be planned for."""

import dataclasses
import importlib.util
import math
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from experiments import machines
from experiments.plan import nvidia
from prompt_jax.errors import PromptError, installing, unknown

# JAX preallocates this share of a GPU's memory.
_GPU_SHARE = 0.75
GPUS_PER_HOST = 8
_NETWORK = 50e9  # bytes per second and GPU: InfiniBand with 400 Gbit/s


@dataclasses.dataclass(frozen=True)
class Chip:
    """One device of an accelerator, by its maker's data sheet.

    Attributes:
        title: name for people.
        platform: "tpu", "cuda" or "cpu".
        memory: usable bytes of main memory.
        bandwidth: bytes per second of main memory.
        link: bytes per second that a device sends to the other devices.
        peaks: operations per second of matrix products by type, see `costs.Costs.flops`.
        axes: axes of a TPU's topology; 0 for other platforms.
        megacore: whether a TPU's two cores act as one device.
    """

    title: str
    platform: str
    memory: float
    bandwidth: float
    link: float
    peaks: Mapping[str, float]
    axes: int = 0
    megacore: bool = False


def _tpu(name: str, gib: float, link: float, axes: int, **options: bool) -> Chip:
    machine = machines.BY_NAME[name]
    peak = machine.peak["bfloat16"]
    # float32 products take six passes of bfloat16 ones, three with precision "high".
    peaks = {"bf16": peak, "f32": peak / 6, "f32 high": peak / 3, "f32 default": peak}
    memory = gib * 2**30
    return Chip(name, "tpu", memory, machine.bandwidth, link * 1e9, peaks, axes, **options)


def _gpu(name: str, machine: machines.Machine, link: float) -> Chip:
    tf32 = machine.peak["tf32"]  # of "high" and "default"
    peaks = {"bf16": machine.peak["bfloat16"], "f32": machine.peak["float32"]}
    peaks |= {"f32 high": tf32, "f32 default": tf32}
    card = nvidia.CARDS[name]
    memory = _GPU_SHARE * card.memory
    return Chip(card.title, "cuda", memory, machine.bandwidth, link * 1e9, peaks)


CHIPS: dict[str, Chip] = {
    "v4": _tpu("TPU v4", 31.75, 300, 3, megacore=True),
    "v5e": _tpu("TPU v5e", 15.75, 200, 2),
    "v5p": _tpu("TPU v5p", 95.0, 600, 3),
    "v6e": _tpu("TPU v6e", 31.25, 448, 2),
    "a100-40gb": _gpu("a100-40gb", machines.BY_NAME["A100 40GB"], 300),
    "a100-80gb": _gpu("a100-80gb", machines.BY_NAME["A100 80GB"], 300),
    "h100": _gpu("h100", machines.BY_NAME["H100"], 450),
    "h200": _gpu("h200", machines.BY_NAME["H200"], 450),
    "rtx4090": _gpu("rtx4090", machines.BY_NAME["RTX 4090"], 32),
    "b200": _gpu("b200", machines.BY_NAME["B200"], 900),
    "cpu": Chip("CPU", "cpu", 0.0, 0.0, 0.0, {}),
}


@dataclasses.dataclass(frozen=True)
class Target:
    """A machine to plan for.

    Attributes:
        text: as given, e.g. "v5e-8".
        name: of its chip, a key of `CHIPS`.
        chip: one of its devices.
        devices: their number.
        shape: a TPU's topology.
    """

    text: str
    name: str
    chip: Chip
    devices: int
    shape: tuple[int, ...] = ()

    @property
    def memory(self) -> float:
        """Returns the usable bytes of a device; on a CPU its share of this machine's memory."""
        if self.chip.platform == "cpu":
            return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / self.devices
        return self.chip.memory

    @property
    def link(self) -> float:
        """Returns the bytes per second that a device sends to the others."""
        several_hosts = self.chip.platform == "cuda" and self.devices > GPUS_PER_HOST
        return min(self.chip.link, _NETWORK) if several_hosts else self.chip.link

    @property
    def environment(self) -> dict[str, str]:
        """Returns the environment variables of a process that compiles for the target."""
        flags = {
            "cuda": "--xla_gpu_enable_triton_gemm=false --xla_gpu_autotune_level=0",
            "cpu": f"--xla_force_host_platform_device_count={self.devices}",
        }
        return {
            "JAX_PLATFORMS": "cpu",
            "TPU_SKIP_MDS_QUERY": "1",
            "ALLOW_MULTIPLE_LIBTPU_LOAD": "true",  # several plans at once
            "XLA_FLAGS": flags.get(self.chip.platform, ""),
            "JAX_ENABLE_COMPILATION_CACHE": "false",  # compile times are reported
        }

    def find_devices(self) -> Sequence[Any]:
        """Returns the described devices; called in a process with `environment`.

        Raises:
            PromptError: this JAX cannot describe them.
        """
        import jax
        from jax.experimental import topologies

        if self.chip.platform == "cpu":
            return jax.devices()
        if self.chip.platform == "cuda":
            hosts, each = -(-self.devices // GPUS_PER_HOST), min(self.devices, GPUS_PER_HOST)
            try:
                return topologies.get_topology_desc(
                    platform="cuda",
                    topology_name=self.name,
                    topology=f"1x{hosts}x{each}",
                    target_config=nvidia.CARDS[self.name].describe(),
                ).devices
            except NotImplementedError:
                raise PromptError(
                    f"--target={self.text}: JAX {jax.__version__} compiles only for GPUs that are "
                    "there; install a newer one"
                ) from None
        options: dict[str, Any] = {}
        if self.devices < 4 or (self.devices <= 8 and len(self.shape) == 2):
            # One host; larger slices have hosts of four chips.
            options["chips_per_host_bounds"] = [*self.shape, 1, 1][:3]
        if self.chip.megacore:
            options["chip_config_name"] = "megacore"
        shape = "x".join(map(str, self.shape))
        name = f"{self.name}:{shape}"
        return topologies.get_topology_desc(platform="tpu", topology_name=name, **options).devices


def parse(text: str) -> Target:
    """Returns a target by its name.

    Args:
        text: a name of `CHIPS`, which means one device; "v5e:4x4" or "v5p:2x2x1", a TPU's
            topology; "v5e-8" or "v5p-8", Google's names of slices; "h100:8" or "cpu:8".

    Raises:
        PromptError: there is no such target.
    """
    name, colon, size = text.partition(":")
    slice_of = re.fullmatch(r"(v4|v5e|v5p|v6e)-(\d+)", text)
    if slice_of:
        name, size = slice_of[1], _topology(slice_of[1], int(slice_of[2]))
    if name not in CHIPS or ((colon or slice_of) and not size):
        raise unknown("target", text, EXAMPLES)
    chip = CHIPS[name]
    if chip.axes:
        sizes = size or "x".join(["1"] * chip.axes)
        if not re.fullmatch("x".join([r"[1-9]\d{0,2}"] * chip.axes), sizes):
            form = "x".join(["2", "2", "1"][: chip.axes])
            raise PromptError(
                f"--target={text}: the topology of a {chip.title} has {chip.axes} sizes, e.g. "
                f"{name}:{form}"
            )
        shape = tuple(map(int, sizes.split("x")))
        return Target(text, name, chip, math.prod(shape), shape)
    number = int(size or 1) if re.fullmatch(r"\d{0,4}", size) else 0
    hosts_full = number <= GPUS_PER_HOST or number % GPUS_PER_HOST == 0
    if number < 1 or (chip.platform == "cuda" and not hosts_full):
        raise PromptError(
            f"--target={text}: the number of devices must be 1 to {GPUS_PER_HOST}, or a multiple "
            f"of {GPUS_PER_HOST}, e.g. {name}:{GPUS_PER_HOST}"
        )
    return Target(text, name, chip, number)


EXAMPLES = (
    *("v5e:1x1", "v5e:2x2", "v5e:4x4", "v5e-8", "v6e:2x4", "v5p:2x2x1", "v4:2x2x1"),
    *("a100-40gb", "a100-80gb", "h100", "h100:8", "h200", "b200", "rtx4090", "cpu:8"),
)


def _topology(name: str, number: int) -> str:
    """Returns the topology of a slice; names of v4 and v5p count two cores a chip."""
    if CHIPS[name].axes == 3:
        chips = number // 2
        sizes = {4: "2x2x1", 8: "2x2x2", 16: "2x2x4", 32: "2x4x4", 64: "4x4x4"}
        return sizes.get(chips, "")
    sizes = {1: "1x1", 4: "2x2", 8: "2x4", 16: "4x4", 32: "4x8", 64: "8x8", 128: "8x16"}
    return (sizes | {256: "16x16"}).get(number, "")


# The modules that hold each platform's compiler.
_COMPILERS = {"tpu": ("libtpu",), "cuda": ("jax_plugins.xla_cuda12", "nvidia.cuda_nvcc")}


def check_compiler(target: Target) -> None:
    """Raises a PromptError with pip's command if the target's compiler is not installed."""
    for module in _COMPILERS.get(target.chip.platform, ()):
        if not _is_installed(module):
            raise PromptError(
                f"--target={target.text}: the compiler for a {target.chip.title} is not installed "
                f"({module.split('.')[-1]} is missing): {installing('targets')}"
            )


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False

"""Peak speed and memory of accelerators by data sheet, for shares of peak and estimates."""

import dataclasses
from collections.abc import Mapping

from prompt_jax.training.compile_times import device_name

AMPERE = "https://www.nvidia.com/en-us/data-center/a100/"
HOPPER = "https://www.nvidia.com/en-us/data-center/h100/"
H200 = "https://www.nvidia.com/en-us/data-center/h200/"
BLACKWELL = "https://www.nvidia.com/en-us/data-center/dgx-b200/"
L4 = "https://www.nvidia.com/en-us/data-center/l4/"
L40S = "https://www.nvidia.com/en-us/data-center/l40s/"
T4 = "https://www.nvidia.com/en-us/data-center/tesla-t4/"
ADA = "NVIDIA Ada GPU Architecture, version 2.02, appendix A"
RTX_PRO = "NVIDIA RTX Blackwell PRO GPU Architecture, version 1.0, appendix A"
TPU = "https://docs.cloud.google.com/tpu/docs/"


@dataclasses.dataclass(frozen=True)
class Machine:
    """One device.

    Attributes:
        name: short name.
        peak: dense FLOP/s by compute type: "bfloat16" and "tf32" with accumulation in float32,
            "float32" without tensor cores. A type that the device has no units for is missing.
        memory_bytes: size of its memory.
        bandwidth: bytes per second from its memory.
        link: bytes per second to other devices, both directions together; 0 for PCI Express.
        source: data sheet.
    """

    name: str
    peak: Mapping[str, float]
    memory_bytes: float
    bandwidth: float
    link: float
    source: str


def _gpu(name, bfloat16, tf32, float32, gigabytes, bandwidth, link, source):
    peaks = {"bfloat16": bfloat16, "tf32": tf32, "float32": float32}
    peak = {dtype: 1e12 * rate for dtype, rate in peaks.items() if rate}
    return Machine(name, peak, 1e9 * gigabytes, 1e9 * bandwidth, 1e9 * link, source)


def _tpu(name, bfloat16, gigabytes, bandwidth, link):
    page = TPU + name.removeprefix("TPU ")
    return _gpu(name, bfloat16, 0, 0, gigabytes, bandwidth, link, page)


# Data sheets round; rates with structured sparsity, twice as high, are not used.
MACHINES = (
    _tpu("TPU v5e", 197, 16, 819, 400),
    _tpu("TPU v5p", 459, 95, 2765, 1200),
    _tpu("TPU v6e", 918, 32, 1638, 800),
    _gpu("T4", 0, 0, 8.1, 16, 320, 0, T4),
    _gpu("A100 40GB", 312, 156, 19.5, 40, 1555, 600, AMPERE),
    _gpu("A100 80GB", 312, 156, 19.5, 80, 2039, 600, AMPERE),
    _gpu("L4", 121, 60, 30.3, 24, 300, 0, L4),
    _gpu("L40S", 362, 183, 91.6, 48, 864, 0, L40S),
    _gpu("RTX 4090", 165.2, 82.6, 82.6, 24, 1008, 0, ADA),
    _gpu("H100 PCIe", 756, 378, 51, 80, 2000, 600, HOPPER),
    _gpu("H100 NVL", 835.5, 417.5, 60, 94, 3938, 600, HOPPER),
    _gpu("H100", 989.4, 494.7, 66.9, 80, 3350, 900, HOPPER),
    _gpu("H200", 989.4, 494.7, 66.9, 141, 4800, 900, H200),
    _gpu("B200", 2250, 1125, 75, 180, 8000, 1800, BLACKWELL),
    _gpu("RTX PRO 6000", 503.8, 251.9, 126, 96, 1792, 0, RTX_PRO),
)


def find(kind: str) -> Machine | None:
    """Returns the device of JAX's `device_kind`, e.g. "NVIDIA H100 80GB HBM3"; None if unknown."""
    words = set(device_name(kind).replace("-", " ").split())
    if words & {"Laptop", "Max"}:  # slower cards of the same names
        return None
    longest_first = sorted(MACHINES, key=lambda each: -len(each.name))
    return next((each for each in longest_first if set(each.name.split()) <= words), None)

"""Peak rates of accelerators by data sheet, for shares of peak and estimates."""

import dataclasses
from collections.abc import Mapping

from prompt_jax.training.compile_times import device_name

AMPERE = "https://www.nvidia.com/en-us/data-center/a100/"
HOPPER = "https://www.nvidia.com/en-us/data-center/h100/"
H100_NVL = f"{HOPPER}; bandwidth: NVIDIA H100 NVL GPU, product brief PB-11773-001"
H200 = "https://www.nvidia.com/en-us/data-center/h200/"
# Of eight GPUs together: 36 petaFLOP/s in bfloat16 and 18 in TF32 with sparsity, 0.6 in float32,
# 64 TB/s.
BLACKWELL = (
    "https://www.nvidia.com/en-us/data-center/hgx/; bandwidth: "
    "https://www.nvidia.com/en-us/data-center/dgx-b200/"
)
L4 = "https://www.nvidia.com/en-us/data-center/l4/"
L40S = "https://www.nvidia.com/en-us/data-center/l40s/"
T4 = "https://www.nvidia.com/en-us/data-center/tesla-t4/"
ADA = "NVIDIA Ada GPU Architecture, version 2.02, appendix A"
# 188 multiprocessors at 2,617 MHz, with 128 float32 units each and tensor cores of four times their
# rate in bfloat16.
RTX_PRO = "NVIDIA RTX Blackwell PRO GPU Architecture, version 1.0, appendix A"
TPU = "https://docs.cloud.google.com/tpu/docs/"


@dataclasses.dataclass(frozen=True)
class Machine:
    """One device.

    Attributes:
        name: short name.
        peak: dense FLOP/s by compute type: "bfloat16" and "tf32" with accumulation in float32,
            "float32" without tensor cores. A type that the device has no units for is missing.
        bandwidth: bytes per second from its memory.
        source: data sheet.
    """

    name: str
    peak: Mapping[str, float]
    bandwidth: float
    source: str


def _gpu(name, bfloat16, tf32, float32, bandwidth, source):
    peaks = {"bfloat16": bfloat16, "tf32": tf32, "float32": float32}
    peak = {dtype: 1e12 * rate for dtype, rate in peaks.items() if rate}
    return Machine(name, peak, 1e9 * bandwidth, source)


def _tpu(name, bfloat16, bandwidth):
    return _gpu(name, bfloat16, 0, 0, bandwidth, TPU + name.removeprefix("TPU "))


# Data sheets round; rates with structured sparsity, twice as high, are not used.
MACHINES = (
    _tpu("TPU v4", 275, 1228),
    _tpu("TPU v5e", 197, 819),
    _tpu("TPU v5p", 459, 2765),
    _tpu("TPU v6e", 918, 1638),
    _gpu("T4", 0, 0, 8.1, 320, T4),
    _gpu("A100 40GB", 312, 156, 19.5, 1555, AMPERE),
    _gpu("A100 80GB", 312, 156, 19.5, 2039, AMPERE),
    _gpu("L4", 121, 60, 30.3, 300, L4),
    _gpu("L40S", 362, 183, 91.6, 864, L40S),
    _gpu("RTX 4090", 165.2, 82.6, 82.6, 1008, ADA),
    _gpu("H100 PCIe", 756, 378, 51, 2000, HOPPER),
    _gpu("H100 NVL", 835.5, 417.5, 60, 3938, H100_NVL),
    _gpu("H100", 989.4, 494.7, 66.9, 3350, HOPPER),
    _gpu("H200", 989.4, 494.7, 66.9, 4800, H200),
    _gpu("B200", 2250, 1125, 75, 8000, BLACKWELL),
    _gpu("RTX PRO 6000", 503.8, 251.9, 126, 1792, RTX_PRO),
)
BY_NAME = {each.name: each for each in MACHINES}


def find(kind: str) -> Machine | None:
    """Returns the device of JAX's `device_kind`, e.g. "NVIDIA H100 80GB HBM3"; None if unknown."""
    words = set(device_name(kind).replace("-", " ").split())
    if words & {"Laptop", "Max"}:  # slower cards of the same names
        return None
    longest_first = sorted(MACHINES, key=lambda each: -len(each.name))
    return next((each for each in longest_first if set(each.name.split()) <= words), None)

"""Describes NVIDIA's cards to XLA's compiler, which then needs no card."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Card:
    """A card, by XLA's own description (openxla/xla, xla/backends/gpu/target_config/specs).

    The RTX 4090 is by its data sheet.

    Attributes:
        title: name for people.
        capability: compute capability.
        cores: streaming multiprocessors.
        fpus: float32 units per core.
        memory, bandwidth, cache: bytes of main memory, bytes per second, bytes of the L2 cache.
        clock: GHz.
        shared: bytes of shared memory per core; a block may use 1 KiB less.
        threads: threads per core.
    """

    title: str
    capability: tuple[int, int]
    cores: int
    fpus: int
    memory: int
    bandwidth: int
    cache: int
    clock: float
    shared: int
    threads: int = 2048

    def describe(self) -> str:
        """Returns XLA's `GpuTargetConfigProto` of the card, as text."""
        major, minor = self.capability
        return f"""
            gpu_device_info {{
              threads_per_block_limit: 1024
              threads_per_warp: 32
              shared_memory_per_block: 49152
              shared_memory_per_core: {self.shared}
              threads_per_core_limit: {self.threads}
              core_count: {self.cores}
              fpus_per_core: {self.fpus}
              block_dim_limit_x: 2147483647
              block_dim_limit_y: 65535
              block_dim_limit_z: 65535
              memory_bandwidth: {self.bandwidth}
              l2_cache_size: {self.cache}
              clock_rate_ghz: {self.clock}
              device_memory_size: {self.memory}
              shared_memory_per_block_optin: {self.shared - 1024}
              cuda_compute_capability {{ major: {major} minor: {minor} }}
              registers_per_core_limit: 65536
              registers_per_block_limit: 65536
            }}
            platform_name: "CUDA"
            dnn_version_info {{ major: 9 minor: 10 patch: 0 }}
            device_description_str: "{self.title}"
        """


_A100 = Card(
    *("A100 40 GB", (8, 0), 108, 64, 42_331_013_120, 1_555_200_000_000),
    *(41_943_040, 1.41, 167_936),
)
_H100 = Card(
    *("H100 80 GB", (9, 0), 132, 128, 84_942_979_072, 3_352_320_000_000),
    *(52_428_800, 1.98, 233_472),
)
CARDS: dict[str, Card] = {
    "a100-40gb": _A100,
    "a100-80gb": dataclasses.replace(
        _A100, title="A100 80 GB", memory=85_100_068_864, bandwidth=2_039_040_000_000
    ),
    "h100": _H100,
    "h200": dataclasses.replace(
        _H100, title="H200 141 GB", memory=151_397_597_184, bandwidth=4_800_000_000_000
    ),
    "rtx4090": Card(
        *("RTX 4090 24 GB", (8, 9), 128, 128, 25_757_220_864, 1_008_096_000_000),
        *(75_497_472, 2.52, 102_400, 1536),
    ),
    "b200": Card(
        *("B200 180 GB", (10, 0), 148, 128, 191_514_411_008, 7_672_320_000_000),
        *(132_644_864, 1.965, 233_472),
    ),
}

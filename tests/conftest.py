"""Configures all tests: JAX on the CPU, and the directory of shared data if there is one."""

import gc
import os
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import hypothesis
import pytest

# Set before any test imports jax, which reads it once.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# One process runs per core; threads of torch would wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Compiling takes most of the time, and 40 % less so. Child processes inherit it.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "true")
# Half of the rest is saved without threads and the newer code generator; values stay the same. XLA
# ends a process at an unknown flag, and newer versions do not know the second.
FAST_COMPILATION = "--xla_cpu_parallel_codegen_split_count=1"
if tuple(map(int, version("jaxlib").split(".")[:2])) < (0, 11):
    FAST_COMPILATION += " --xla_cpu_use_fusion_emitters=false"
os.environ.setdefault("XLA_FLAGS", FAST_COMPILATION)


# The same inputs each time, and no failure on slow machines.
hypothesis.settings.register_profile(
    "repeatable",
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("repeatable")


def pytest_configure(config: pytest.Config) -> None:
    """Shares compiled programs among the tests of this process and the commands they start.

    Each process of pytest-xdist has its own directory, because JAX's cache is not written
    atomically, and a partly written program is a warning, which is an error here.
    """
    folder = tempfile.TemporaryDirectory(prefix="prompt_jax-compiled-")
    config.add_cleanup(folder.cleanup)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = folder.name
    os.environ["XDG_CACHE_HOME"] = folder.name  # the user's must not change
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Runs files with slow tests first, so that none is left alone at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


MAPPINGS = Path("/proc/self/maps")
MOST_MAPPINGS = 25_000
"""Linux allows a process 65,530 memory mappings and a compiled program takes several. Without any
left, XLA ends the process."""


@pytest.fixture(scope="module", autouse=True)
def free_compiled_programs() -> Iterator[None]:
    """Frees JAX's compiled programs after a file if there are many."""
    yield
    jax = sys.modules.get("jax")
    if jax and MAPPINGS.exists() and MAPPINGS.read_bytes().count(b"\n") > MOST_MAPPINGS:
        jax.clear_caches()
        gc.collect()


@pytest.fixture(scope="session")
def shared() -> Path:
    """Returns the directory with data/ and oracles/; skips tests if it is missing."""
    default = Path(__file__).parents[2] / "shared"
    folder = Path(os.environ.get("PROMPT_JAX_SHARED", default))
    if not folder.is_dir():
        pytest.skip(f"real images and reference figures are not here: no folder {folder}")
    return folder


@pytest.fixture(scope="session")
def torch() -> ModuleType:
    """Returns torch, the reference of some tests; skips them without it."""
    import needs_torch  # noqa: F401
    import torch

    return torch

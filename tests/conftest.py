"""What every test starts from: JAX on the CPU, and the folder of real images if there is one."""

import os
import tempfile
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import hypothesis
import pytest

# Before any test imports jax, which reads it once.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# A process runs on each core; threads of torch would wait for each other on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Compiling is most of the tests' time, and takes 40 % less without. Child processes inherit it.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "true")
# Of what is left, half goes without threads and without the newer code generator; values stay the
# same. XLA ends a process at a flag that it does not know, and newer ones do not know the second.
FAST_COMPILATION = "--xla_cpu_parallel_codegen_split_count=1"
if tuple(map(int, version("jaxlib").split(".")[:2])) < (0, 11):
    FAST_COMPILATION += " --xla_cpu_use_fusion_emitters=false"
os.environ.setdefault("XLA_FLAGS", FAST_COMPILATION)


# The same inputs each time, and no failure because a machine is slow.
hypothesis.settings.register_profile(
    "repeatable",
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("repeatable")


def pytest_configure(config: pytest.Config) -> None:
    """What is compiled once is shared by the tests of this process and the commands they start.

    Processes of pytest-xdist have a folder each: JAX's cache is not written atomically, and a part
    of a program is a warning, so an error here.
    """
    folder = tempfile.TemporaryDirectory(prefix="prompt_jax-compiled-")
    config.add_cleanup(folder.cleanup)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = folder.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that hold slow tests come first, so that none is left alone at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with data/ and oracles/; a test that asks for it is skipped where it is absent."""
    default = Path(__file__).parents[2] / "shared"
    folder = Path(os.environ.get("PROMPT_JAX_SHARED", default))
    if not folder.is_dir():
        pytest.skip(f"real images and reference figures are not here: no folder {folder}")
    return folder


@pytest.fixture(scope="session")
def torch() -> ModuleType:
    """torch, whose figures are the reference of some tests; without it those are skipped."""
    import needs_torch  # noqa: F401
    import torch

    return torch

"""What every test starts from: JAX on the CPU, and the folder of real pictures if there is one."""

import os
from pathlib import Path

import pytest

# Before any test imports jax, which reads it once.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Compiling is most of the tests' time, and takes 40 % less without. Child processes inherit it.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "true")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with data/ and oracles/; a test that asks for it is skipped where it is absent."""
    default = Path(__file__).parents[2] / "shared"
    folder = Path(os.environ.get("PROMPT_JAX_SHARED", default))
    if not folder.is_dir():
        pytest.skip(f"real pictures and reference figures are not here: no folder {folder}")
    return folder

"""Builds the wheel of this checkout, and runs processes outside the checkout."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
PACKAGES = ("prompt_jax", "data_pipelines", "experiments")
SOURCE = ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", *PACKAGES)


def run(words: Sequence[str | Path], folder: Path, **more: str) -> str:
    """Returns the output of a process; `more` is added to its environment."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        words, cwd=folder, env=environment | more, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def build(source: Path, target: Path) -> Path:
    """Builds the wheel in `target` from a copy in `source`, because building leaves files there."""
    copy(source)
    return build_wheel(source, target)


def copy(source: Path) -> None:
    """Copies what is packaged."""
    for name in SOURCE:
        path = REPOSITORY / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, source)


def build_sdist(source: Path, target: Path) -> Path:
    """Builds the source distribution of a directory in `target`."""
    code = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    run([sys.executable, "-c", code, target], source)
    [built] = target.iterdir()
    return built


def build_wheel(source: Path, target: Path) -> Path:
    """Builds the wheel of a directory in `target`."""
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", target]
    run([sys.executable, "-m", "pip", "wheel", *options, source], target)
    [built] = target.iterdir()
    return built

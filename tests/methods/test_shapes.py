"""The shapes in the annotations of methods hold, by jaxtyping and beartype."""

import os
import subprocess
import sys

import pytest
from tiny import REPOSITORY

from prompt_jax import methods


@pytest.mark.slow
def test_every_method_keeps_the_shapes_of_its_annotations():
    """Runs in a process of its own, because annotations are checked from the import on."""
    checked_shapes = REPOSITORY / "tests" / "helpers" / "checked_shapes.py"
    done = subprocess.run(
        [sys.executable, checked_shapes],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    images, videos, adapted = map(int, done.stdout.split())
    assert images >= len(methods.METHODS) and videos >= len(methods.ENCODERS) and adapted == 3

"""Skips a test file that imports it if torch is missing, with the reason."""

import pytest

REASON = (
    "needs torch: the tests' versions for this Python have none (constraints.txt); "
    "pip install -e '.[test,onnx]' where there is one"
)
pytest.importorskip("torch", reason=REASON)

"""The notebooks run from top to bottom, end in a table and a picture, and install themselves."""

import base64
import glob
import importlib.util
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from PIL import Image

REPOSITORY = Path(__file__).parents[1]
FOLDER = REPOSITORY / "notebooks"
NAMES = ("quickstart", "own_pictures", "pytorch")
# Sockets are files in the folder it runs in, so that no port is open; a cell has fifteen minutes.
EXECUTE = """
import sys
import nbformat
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
book = nbformat.read(sys.argv[1], as_version=4)
kernel = AsyncKernelManager(kernel_name="python3", transport="ipc")
NotebookClient(book, km=kernel, timeout=900).execute()
nbformat.write(book, "executed.ipynb")
"""


def read(name: str) -> nbformat.NotebookNode:
    """A notebook, valid."""
    book = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    nbformat.validate(book)
    return book


def code(book: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """Its cells of code; the first is the set-up."""
    return [cell for cell in book.cells if cell.cell_type == "code"]


def test_these_are_all_notebooks():
    assert {path.stem for path in FOLDER.iterdir() if path.suffix == ".ipynb"} == {*NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_no_outputs_are_stored_and_every_cell_is_explained(name):
    book = read(name)
    assert all(not cell.outputs and cell.execution_count is None for cell in code(book))
    assert set(book.metadata) == {"kernelspec", "language_info"}
    assert sum(cell.cell_type == "markdown" for cell in book.cells) >= len(code(book)) - 1


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_and_ends_in_a_table_and_a_picture(name, tmp_path):
    environment = os.environ | {
        "PYTHONPATH": str(REPOSITORY),
        # Nothing of the person who runs the tests, such as another kernel of this name.
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "JUPYTER_DATA_DIR": str(tmp_path / "jupyter"),
    }
    words = [sys.executable, "-c", EXECUTE, FOLDER / f"{name}.ipynb"]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    shown = [
        output.data
        for cell in code(nbformat.read(tmp_path / "executed.ipynb", as_version=4))
        for output in cell.outputs
        if output.output_type in ("display_data", "execute_result")
    ]
    tables = [data["text/markdown"] for data in shown if "text/markdown" in data]
    assert tables and all(table.count("\n") > 2 and "%" in table for table in tables)
    picture = Image.open(io.BytesIO(base64.b64decode(shown[-1]["image/png"])))
    assert min(picture.size) > 300
    assert len(np.unique(np.asarray(picture.convert("L")))) > 50


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("place", "device", "extra"),
    [(FOLDER, "", ""), (FOLDER, "gpu", "cuda12"), ("", "tpu", "tpu"), ("", "", "")],
)
def test_the_set_up_installs_what_fits(name, place, device, extra, tmp_path, monkeypatch):
    asked = []
    monkeypatch.chdir(place or tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name: device == "gpu" or None)
    monkeypatch.setattr(glob, "glob", lambda pattern: ["/dev/accel0"] * (device == "tpu"))
    monkeypatch.setattr(subprocess, "check_call", asked.append)
    exec(code(read(name))[0].source, {})
    extras = ",".join(filter(None, ["torch" if name == "pytorch" else "", extra]))
    extras = f"[{extras}]" if extras else ""
    [words] = asked
    assert words[:4] == [sys.executable, "-m", "pip", "install"]
    if place:
        assert words[-1] == f"{REPOSITORY}{extras}"
    else:
        assert words[-1].startswith(f"prompt_jax{extras} @ git+https://github.com/")


def test_the_set_up_leaves_alone_what_is_installed(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(subprocess, "check_call", None)
    for name in NAMES:
        exec(code(read(name))[0].source, {})

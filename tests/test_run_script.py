"""run.sh takes the Python versions that setup.py promises, and starts what its usage says."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.run import protocols
from prompt_jax import methods

REPOSITORY = Path(__file__).parents[1]


def find_python(path: Path, **environment: str) -> subprocess.CompletedProcess:
    """run.sh's search alone, with nothing but `path` on PATH."""
    script = "eval \"$(sed '/^main /d' run.sh)\"; PATH=$SEARCHED; find_python"
    return subprocess.run(
        ["/bin/bash", "-c", script],
        cwd=REPOSITORY,
        env={"PATH": os.environ["PATH"], "SEARCHED": str(path), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def interpreter(path: Path, version: tuple[int, int]) -> Path:
    """This Python, which says that it is another."""
    code = f"import sys; sys.version_info = {version}; exec(sys.argv[1])"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}" "$2"\n')
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("version", [(3, 11), (3, 12)])
def test_a_tested_version_is_found_and_taken(version, tmp_path):
    newer = interpreter(tmp_path / "python3", (3, 13))
    chosen = interpreter(tmp_path / f"python3.{version[1]}", version)
    found = find_python(tmp_path)
    assert (found.returncode, found.stdout.strip()) == (0, chosen.name), found.stderr
    newer.unlink()
    assert find_python(tmp_path, PYTHON=str(chosen)).stdout.strip() == str(chosen)


@pytest.mark.parametrize("version", [(3, 10), (3, 13)])
def test_another_version_is_refused_in_one_line(version, tmp_path):
    other = interpreter(tmp_path / "python3", version)
    for found in (find_python(tmp_path), find_python(tmp_path, PYTHON=str(other))):
        assert found.returncode == 1 and found.stderr.count("\n") == 1, found.stderr
        assert "no Python 3.11 or 3.12" in found.stderr


def test_both_files_name_the_same_versions():
    setup = (REPOSITORY / "setup.py").read_text(encoding="utf-8")
    script = (REPOSITORY / "run.sh").read_text(encoding="utf-8")
    [(low, high)] = re.findall(r'python_requires=">=3\.(\d+),<3\.(\d+)"', setup)
    assert f"(3, {low}) <= sys.version_info < (3, {high})" in script
    promised = re.findall(r'"Programming Language :: Python :: 3\.(\d+)"', setup)
    assert promised == [str(minor) for minor in range(int(low), int(high))]


@pytest.fixture
def installed(tmp_path):
    """A copy of run.sh, nothing left to install, whose Python says what it is asked to run."""
    inputs = f"{tmp_path}\n".encode()
    for name in ("run.sh", "setup.py", "constraints.txt"):
        shutil.copy(REPOSITORY / name, tmp_path)
    for name in ("setup.py", "constraints.txt"):
        inputs += (tmp_path / name).read_bytes()
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/installed-test").write_text(f"{hashlib.sha256(inputs).hexdigest()}  -\n")
    python = tmp_path / ".venv/bin/python"
    python.write_text(f'#!/bin/sh\n[ "$1" = -c ] && exec {sys.executable} "$@"\necho "$@"\n')
    python.chmod(0o755)
    return tmp_path / "run.sh"


def started(script: Path, *words: str) -> list[str]:
    """The commands that run.sh starts with .venv's Python, one a line."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHON"}
    done = subprocess.run([script, *words], env=environment, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode().splitlines()


def test_quick_makes_all_checks_without_the_slow_tests(installed):
    *checks, tests = started(installed, "test")
    assert [line.split()[1] for line in checks] == ["ruff", "ruff", "mypy"]
    assert tests.startswith("-m pytest ") and "slow" not in tests
    assert started(installed, "test", "--quick") == [*checks, f"{tests} -m not slow"]


def test_other_words_are_for_pytest_alone(installed):
    words = ("tests/test_x.py", "-k", "name")
    assert started(installed, "test", *words) == [f"-m pytest {' '.join(words)}"]


def test_continuous_integration_makes_all_checks():
    command = (REPOSITORY / ".ci/run").read_text(encoding="utf-8").splitlines()[-1]
    assert command.endswith('/run.sh" test')


def test_the_usage_names_quick(installed):
    done = subprocess.run([installed, "--help"], capture_output=True, text=True, timeout=60)
    assert "./run.sh test --quick " in done.stdout


def test_the_usage_names_all_methods_and_protocols(installed):
    done = subprocess.run([installed, "--help"], capture_output=True, text=True, timeout=60)
    for title, names in (
        ("methods of pictures", methods.METHODS),
        ("methods of clips", methods.ENCODERS),
        ("protocols", protocols.PROTOCOLS),
    ):
        [listed] = re.findall(rf"^{title}:\n((?:  .*\n)+)", done.stdout, re.MULTILINE)
        assert re.split(r",\s+", listed.strip()) == list(names)
    assert "./run.sh --config=FILE --help " in done.stdout

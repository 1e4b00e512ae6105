"""run.sh accepts the Pythons of pyproject.toml and starts the commands of its usage text."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from experiments.config.protocols import PROTOCOLS
from prompt_jax import methods

REPOSITORY = Path(__file__).parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def find_python(path: Path, **environment: str) -> subprocess.CompletedProcess:
    """Runs only the interpreter search of run.sh, with nothing but `path` on PATH."""
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
    """Returns this Python, reporting another version."""
    code = f"import sys; sys.version_info = {version}; exec(sys.argv[1])"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}" "$2"\n')
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("version", [(3, 11), (3, 12), (3, 13), (3, 14)])
def test_a_tested_version_is_found(version, tmp_path):
    newer = interpreter(tmp_path / "python3", (3, 15))
    chosen = interpreter(tmp_path / f"python3.{version[1]}", version)
    found = find_python(tmp_path)
    assert (found.returncode, found.stdout.strip()) == (0, chosen.name), found.stderr
    newer.unlink()
    assert find_python(tmp_path, PYTHON=str(chosen)).stdout.strip() == str(chosen)


@pytest.mark.parametrize("version", [(3, 10), (3, 15)])
def test_another_version_is_rejected_in_one_line(version, tmp_path):
    other = interpreter(tmp_path / "python3", version)
    for found in (find_python(tmp_path), find_python(tmp_path, PYTHON=str(other))):
        assert found.returncode == 1 and found.stderr.count("\n") == 1, found.stderr
        assert re.search(r"no(t)? Python 3\.11 to 3\.14", found.stderr)


def test_the_oldest_versions_require_the_oldest_python(tmp_path):
    shutil.copy(REPOSITORY / "run.sh", tmp_path)
    interpreter(tmp_path / "python3", (3, 12))
    done = subprocess.run(
        ["/bin/bash", "run.sh", "test", "--oldest"],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHON": str(tmp_path / "python3")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1 and done.stdout == ""
    assert "python3 is not Python 3.11; unset PYTHON" in done.stderr


def test_both_files_name_the_same_versions():
    script = (REPOSITORY / "run.sh").read_text(encoding="utf-8")
    prefix = "Programming Language :: Python :: 3."
    versions = [line for line in PROJECT["classifiers"] if line.startswith(prefix)]
    required = [line.removeprefix(prefix) for line in versions]
    [low], [high] = (
        re.findall(f"^{end}_PYTHON=(.*)$", script, re.M) for end in ("OLDEST", "NEWEST")
    )
    assert required == [str(minor) for minor in range(int(low), int(high) + 1)]
    # No upper bound: newer Pythons may work.
    assert PROJECT["requires-python"] == f">=3.{low}"


def pins(name: str, python: str) -> dict[str, Version]:
    """Returns the versions in a constraints file that apply to a Python version."""
    lines = (REPOSITORY / name).read_text(encoding="utf-8").splitlines()
    required = [Requirement(line) for line in lines if not line.startswith("#")]
    held = [
        each
        for each in required
        if not each.marker or each.marker.evaluate({"python_version": python})
    ]
    found = {canonicalize_name(each.name): Version(str(each.specifier)[2:]) for each in held}
    assert len(found) == len(held), "a package stands twice"
    return found


def requirements(*extras: str) -> Iterator[Requirement]:
    """Returns the requirements of pyproject.toml, with some extras."""
    yield from map(Requirement, PROJECT["dependencies"])
    for line in (line for extra in extras for line in PROJECT["optional-dependencies"][extra]):
        required = Requirement(line)
        if required.name == PROJECT["name"]:
            yield from requirements(*required.extras)
        else:
            yield required


def test_the_oldest_pins_are_exactly_the_lower_bounds():
    oldest = pins("constraints-oldest.txt", "3.11")
    for required in requirements("test"):
        [bound] = required.specifier
        assert bound.operator == ">="
        version = oldest[canonicalize_name(required.name)]
        # "2.0" means 2.0.0; a version without a file means the first one that has one.
        assert (
            version.release[: len(Version(bound.version).release)] == Version(bound.version).release
        )


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
def test_the_newest_pins_meet_the_requirements(python):
    newest = pins("constraints.txt", python)
    for required in requirements("test"):
        assert newest[canonicalize_name(required.name)] in required.specifier, required
    assert ("torch" in newest) == (python == "3.11")


ENVIRONMENTS = {".venv": "constraints.txt", ".venv-oldest": "constraints-oldest.txt"}
OLD = "import sys; sys.version_info = (3, 11)"  # as for the oldest versions


@pytest.fixture
def installed_copy(tmp_path):
    """Returns a copy of run.sh with everything installed, whose Pythons print their arguments."""
    inputs = f"{tmp_path}\n".encode()
    for name in ("run.sh", "pyproject.toml", *ENVIRONMENTS.values()):
        shutil.copy(REPOSITORY / name, tmp_path)
    project = (tmp_path / "pyproject.toml").read_bytes()
    for folder, name in ENVIRONMENTS.items():
        digest = hashlib.sha256(inputs + project + (tmp_path / name).read_bytes()).hexdigest()
        (tmp_path / folder / "bin").mkdir(parents=True)
        (tmp_path / folder / "installed-test").write_text(f"{digest}  -\n")
        python = tmp_path / folder / "bin/python"
        python.write_text(
            f"#!/bin/sh\n[ \"$1\" = -c ] && exec {sys.executable} -c \"{OLD}; exec('''$2''')\"\n"
            f'echo "{folder} $@"\n'
        )
        python.chmod(0o755)
    return tmp_path / "run.sh"


def started_commands(script: Path, *words: str) -> list[str]:
    """Returns the commands that run.sh starts with .venv's Python, one per line."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHON"}
    done = subprocess.run([script, *words], env=environment, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode().splitlines()


def test_quick_runs_all_checks_without_the_slow_tests(installed_copy):
    *checks, tests = started_commands(installed_copy, "test")
    assert [line.split()[2] for line in checks] == ["ruff", "ruff", "mypy"]
    assert tests.startswith(".venv -m pytest ") and "slow" not in tests
    assert started_commands(installed_copy, "test", "--quick") == [*checks, f"{tests} -m not slow"]


def test_the_oldest_versions_have_their_own_environment(installed_copy):
    newest = started_commands(installed_copy, "test")
    oldest = [line.replace(".venv ", ".venv-oldest ") for line in newest if "mypy" not in line]
    assert len(oldest) == len(newest) - 1  # mypy runs with the newest versions
    assert started_commands(installed_copy, "test", "--oldest") == oldest
    assert started_commands(installed_copy, "test", "--oldest", "--quick") == [
        *oldest[:-1],
        f"{oldest[-1]} -m not slow",
    ]


def test_other_arguments_are_passed_to_pytest_only(installed_copy):
    words = ("tests/test_x.py", "-k", "name")
    assert started_commands(installed_copy, "test", *words) == [
        f".venv -m pytest {' '.join(words)}"
    ]


@pytest.fixture
def ci_copy(tmp_path):
    """Returns a copy of .ci/run beside a run.sh that prints how it was started."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(REPOSITORY / ".ci/run", tmp_path / ".ci")
    script = tmp_path / "run.sh"
    script.write_text('#!/bin/sh\necho "$PYTHON: $*"\n[ "$*" != "$FAILING" ]\n')
    script.chmod(0o755)

    def run(*pythons: str, failing: str = "none") -> subprocess.CompletedProcess:
        folder = tmp_path / "path"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name in pythons:
            (folder / name).symlink_to("/bin/true")
        for name in ("bash", "dirname", "sh"):
            (folder / name).symlink_to(shutil.which(name) or "")
        environment = {"PATH": str(folder), "HOME": str(tmp_path), "FAILING": failing}
        words = [tmp_path / ".ci/run"]
        return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60)

    return run


def test_continuous_integration_tests_the_oldest_and_the_newest_versions(ci_copy):
    done = ci_copy("python3.11", "python3.13")
    assert done.returncode == 0, done.stderr
    started_commands = [
        line for line in done.stdout.splitlines() if not line.startswith(".ci/run: ")
    ]
    assert started_commands == ["python3.11: test --oldest", "python3.13: test --quick"]


@pytest.mark.parametrize(
    ("pythons", "failing", "message"),
    [
        (["python3.11"], "none", "Python 3.13: NOT RUN"),
        (["python3.13"], "none", "Python 3.11: NOT RUN"),
        (["python3.11", "python3.13"], "test --quick", "Python 3.13: ./run.sh test --quick failed"),
        (
            ["python3.11", "python3.13"],
            "test --oldest",
            "Python 3.11: ./run.sh test --oldest failed",
        ),
    ],
)
def test_continuous_integration_fails_if_a_version_is_missing(ci_copy, pythons, failing, message):
    done = ci_copy(*pythons, failing=failing)
    assert done.returncode == 1
    assert f".ci/run: {message}" in done.stderr


def test_github_actions_install_the_required_pythons():
    workflow = (REPOSITORY / ".github/workflows/ci.yml").read_text(encoding="utf-8")
    script = (REPOSITORY / ".ci/run").read_text(encoding="utf-8")
    pythons = re.findall(r"^ +(3\.\d+)$", workflow, re.MULTILINE)
    assert pythons == re.findall(r"^job (3\.\d+) ", script, re.MULTILINE)
    both, newest = workflow.split("  newest-python:\n")
    assert both.endswith("- run: .ci/run\n\n")
    assert newest.endswith("- run: PYTHON=python3.14 ./run.sh test --quick\n")


def test_an_unknown_command_is_named(installed_copy):
    done = subprocess.run([installed_copy, "vidoe"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "unknown command vidoe; use video, test, or options" in done.stderr


def test_the_usage_names_quick(installed_copy):
    done = subprocess.run([installed_copy, "--help"], capture_output=True, text=True, timeout=60)
    assert "./run.sh test --quick " in done.stdout


def test_the_usage_names_all_methods_and_protocols():
    script = REPOSITORY / "run.sh"
    done = subprocess.run([script, "--help"], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    for title, names in (
        ("methods of images", sorted(methods.METHODS)),
        ("methods of videos", sorted(methods.ENCODERS)),
        ("protocols", PROTOCOLS),
    ):
        [listed] = re.findall(rf"^{title}:\n((?:  .*\n)+)", done.stdout, re.MULTILINE)
        assert re.split(r",\s+", listed.strip()) == list(names)
    assert "./run.sh --config=FILE --help " in done.stdout

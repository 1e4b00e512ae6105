"""Imports between packages and directories, the length of files, and the size of directories."""

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("prompt_jax", "data_pipelines", "experiments")
# Modules that the library and the data package share; they import no JAX.
SHARED = {
    "prompt_jax.cli",
    "prompt_jax.errors",
    "prompt_jax.inputs",
    "prompt_jax.storage",
    "prompt_jax.text",
}
MAY_IMPORT = {
    "prompt_jax": {"prompt_jax"},
    "data_pipelines": {"data_pipelines", *SHARED},
    "experiments": set(PACKAGES),
}
# The order of prompt_jax's directories; modules that are not listed are above them.
LAYERS = (
    "errors",
    "storage",
    "cli",
    "inputs",
    "text",
    "mesh",
    "clip",
    "vit",
    "prompts",
    "text_features",
    "heads",
    "methods",
    "evaluation",
    "indexing",
    "training",
    "models",
)
# What each directory of the other two packages may import of its package.
ALLOWED: dict[str, set[str]] = {
    "data_pipelines.images": {"data_pipelines.errors", "data_pipelines.examples"},
    "data_pipelines.videos": {
        "data_pipelines.errors",
        "data_pipelines.examples",
        "data_pipelines.images",
    },
    "data_pipelines.scenes": {"data_pipelines.errors"},
    "data_pipelines.layouts": {
        "data_pipelines.videos",
        "data_pipelines.errors",
        "data_pipelines.examples",
        "data_pipelines.images",
        "data_pipelines.scenes",
    },
    "data_pipelines.catalog": {"data_pipelines.layouts"},
    "data_pipelines.batches": {"data_pipelines.errors"},
    "data_pipelines.checks": {
        "data_pipelines.datasets",
        "data_pipelines.errors",
        "data_pipelines.examples",
        "data_pipelines.layouts",
    },
    "data_pipelines.fetching": {"data_pipelines.errors"},
    "experiments.config": set(),
    "experiments.configs": {"experiments.config"},
    "experiments.record": {"experiments.config"},
    "experiments.cli": {"experiments.config"},
    "experiments.setup": {"experiments.config", "experiments.record"},
    "experiments.run": {
        "experiments.cli",
        "experiments.config",
        "experiments.configs",
        "experiments.record",
        "experiments.setup",
    },
    "experiments.machines": set(),
    "experiments.pretraining": set(),
    "experiments.figures": {"experiments.record"},
    "experiments.report": {
        "experiments.cli",
        "experiments.figures",
        "experiments.record",
        "experiments.run",
        "experiments.setup",
    },
    "experiments.plan": {
        "experiments.cli",
        "experiments.config",
        "experiments.configs",
        "experiments.machines",
        "experiments.main",
        "experiments.run",
        "experiments.setup",
    },
    "experiments.reproduce": {
        "experiments.cli",
        "experiments.config",
        "experiments.configs",
        "experiments.figures",
        "experiments.plan",
        "experiments.record",
        "experiments.results",
        "experiments.run",
        "experiments.setup",
    },
    "experiments.benchmark": {
        "experiments.cli",
        "experiments.machines",
        "experiments.record",
        "experiments.figures",
        "experiments.run",
        "experiments.setup",
    },
}
# Packages for flags, configs and data, which belong to the other two packages.
NOT_IN_PROMPT_JAX = {
    "absl",
    "grain",
    "ml_collections",
    "tensorflow",
    "tensorflow_datasets",
    "torchvision",
}
LONGEST = 355


def imported_names(source: str, package: str) -> set[str]:
    """Returns the dotted names that a file of `package` imports, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                module = ".".join([*above, *filter(None, [module])])
            # The imported name may be a module: `from prompt_jax.clip import tokenizer`.
            names |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return names


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> set[str]:
    package = ".".join(path.relative_to(ROOT).parent.parts)
    return imported_names(path.read_text(encoding="utf-8"), package)


def layer(module: str) -> int:
    inside = module.split(".")[1:2]
    return LAYERS.index(inside[0]) if inside and inside[0] in LAYERS else len(LAYERS)


def directory(module: str) -> str:
    """Returns the directory of a module below its package; the module itself at the top level."""
    return ".".join(module.split(".")[:2])


def upward(module: str, names: set[str]) -> Iterator[str]:
    """Yields those of `names` that a module must not import."""
    package = module.split(".")[0]
    for name in names:
        top = name.split(".")[0]
        # A package's name alone is the first half of `from prompt_jax import video`.
        forbidden = top in PACKAGES and not any(
            name == part.split(".")[0] or f"{name}.".startswith(f"{part}.")
            for part in MAY_IMPORT[package]
        )
        if package == "prompt_jax":
            forbidden |= top in NOT_IN_PROMPT_JAX
            above = name != package and layer(name) > layer(module)
            forbidden |= top == package and above
        if directory(module) in ALLOWED and top == package and name != package:
            forbidden |= directory(name) not in {directory(module), *ALLOWED[directory(module)]}
        if forbidden:
            yield f"{module} imports {name}"


def test_no_file_imports_upward():
    files = python_files(*PACKAGES)
    assert len(files) > 30
    found = [line for path in files for line in upward(module_name(path), imports(path))]
    assert not found, "\n".join(sorted(found))


def test_files_do_not_import_each_other_in_a_cycle():
    modules = {module_name(path): imports(path) for path in python_files(*PACKAGES)}
    graph = {module: names & modules.keys() - {module} for module, names in modules.items()}
    for module in graph:
        # `from package import module` needs only the module, not the other imports of the package.
        finer = {name.rpartition(".")[0] for name in graph[module]}
        graph[module] -= finer
    assert list(graphlib.TopologicalSorter(graph).static_order())


def test_directories_do_not_import_each_other_in_a_cycle():
    graph: dict[str, set[str]] = {}
    for path in python_files(*PACKAGES):
        names = {directory(name) for name in imports(path) if name.split(".")[0] in PACKAGES}
        here = directory(module_name(path))
        graph.setdefault(here, set()).update(names - {here, *PACKAGES})
    assert graph.keys() >= ALLOWED.keys()
    assert list(graphlib.TopologicalSorter(graph).static_order())


def test_every_directory_declares_its_imports():
    directories = {
        directory(module_name(path)) for path in python_files("data_pipelines", "experiments")
    }
    directories = {name for name in directories if ROOT.joinpath(*name.split(".")).is_dir()} - {
        *PACKAGES
    }
    assert directories == ALLOWED.keys()


def test_files_are_short():
    lengths = {
        path.relative_to(ROOT): len(path.read_text(encoding="utf-8").splitlines())
        for path in python_files(*PACKAGES, "tests")
    }
    assert not {path: length for path, length in lengths.items() if length > LONGEST}


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("prompt_jax.training.train", "import data_pipelines.loader"),
        ("data_pipelines.loader", "from prompt_jax import methods"),
        (
            "data_pipelines.loader",
            "from prompt_jax.inputs import images as images, reading\nimport experiments",
        ),
        ("data_pipelines.loader", "from experiments.main import main"),
        ("prompt_jax.training.train", "def late():\n    from absl import flags"),
        ("prompt_jax.training.train", "import tensorflow_datasets as tfds"),
        ("prompt_jax.clip.text", "from prompt_jax.prompts import encode_classes"),
        ("prompt_jax.clip.text", "from prompt_jax import prompts"),
        ("prompt_jax.clip.text", "from .. import prompts"),
        ("prompt_jax.errors", "from .clip import config"),
        ("prompt_jax.prompts", "from prompt_jax.methods import METHODS"),
        ("prompt_jax.methods.images.coop", "import prompt_jax.training.train"),
        ("data_pipelines.images.readers", "from data_pipelines.layouts.layout import SPLITS"),
        ("data_pipelines.layouts.coop", "from data_pipelines import datasets"),
        ("experiments.record.workdir", "from experiments.run import experiment"),
        ("experiments.figures.averages", "def late():\n    from experiments.run import experiment"),
        ("experiments.run.sweep", "from experiments import results"),
        ("experiments.run.sweep", "from experiments.figures.tables import show"),
        ("experiments.run.sweep", "from ..report import tables"),
        ("experiments.configs.images.coop", "import experiments.setup.building"),
    ],
)
def test_forbidden_imports_are_found(module, source):
    assert list(upward(module, imported_names(source, module.rpartition(".")[0])))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        (
            "experiments.main",
            "from prompt_jax.training import train\nfrom data_pipelines import loader",
        ),
        ("experiments.main", "from absl import flags"),
        ("experiments.main", "from experiments.figures import tables"),
        ("experiments.run.sweep", "from experiments.record.workdir import git_commit"),
        ("experiments.configs.images.coop", "from experiments.configs import default"),
        ("data_pipelines.loader", "import grain"),
        ("data_pipelines.loader", "from prompt_jax.inputs.images import transforms"),
        ("data_pipelines.datasets", "from data_pipelines.layouts import tfds_source"),
        (
            "data_pipelines.layouts.emoji_scenes",
            "def late():\n    from data_pipelines import scenes",
        ),
        (
            "prompt_jax.evaluation.evaluate",
            "from prompt_jax.evaluation.metrics import Accuracy\nimport jax",
        ),
        ("prompt_jax.methods.images.coop", "from prompt_jax.methods.method import Method"),
        ("prompt_jax.prompts", "from prompt_jax.clip import tokenizer"),
    ],
)
def test_allowed_imports_are_accepted(module, source):
    assert not list(upward(module, imported_names(source, module.rpartition(".")[0])))


# Directories that hold one file per method, data set layout or config.
ONE_FILE_EACH = {
    "data_pipelines/layouts",
    "experiments/configs/images",
    "experiments/configs/video",
    "prompt_jax/export/torch_parts",
    "prompt_jax/methods/images",
    "prompt_jax/methods/video",
}
MOST_FILES = 12


def test_directories_are_small():
    files = python_files(*PACKAGES, "tests")
    folders = {path.parent.relative_to(ROOT).as_posix() for path in files}
    counts = {folder: len(list((ROOT / folder).glob("*.py"))) for folder in folders}
    assert not {
        folder: count
        for folder, count in counts.items()
        if count > MOST_FILES and folder not in ONE_FILE_EACH
    }


def test_files_of_tests_have_different_names():
    """Test files are imported by their bare names, so a second one of a name cannot be."""
    names = [path.name for path in python_files("tests") if path.name != "__init__.py"]
    repeated = {name for name in names if names.count(name) > 1}
    assert not {name for name in repeated if name.startswith("test_")}

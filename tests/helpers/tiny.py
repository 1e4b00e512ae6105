"""Writes a tiny random CLIP and a tiny data set of real files, and runs the command line."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import flax.traverse_util
import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from absl import flags
from jax.experimental.compilation_cache import compilation_cache
from ml_collections import ConfigDict
from PIL import Image

from experiments import main
from experiments.cli import command_line
from experiments.configs import default
from prompt_jax.clip import CLIP, CLIPConfig, Frozen, saving
from prompt_jax.text import class_texts

REPOSITORY = Path(__file__).parents[2]
CONFIG = CLIPConfig(
    image_size=32,
    patch_size=16,
    image_width=32,
    image_layers=2,
    image_heads=2,
    image_mlp=64,
    text_width=32,
    text_layers=2,
    text_heads=2,
    text_mlp=64,
    embed_dim=16,
)
# With as many tokens as the four scene classes, so that both tasks share compiled programs.
CLASSES = ("sea_horse", "pagoda", "garfield", "accordion")
SPLIT = "split_zhou_Caltech101.json"


@lru_cache
def frozen_parameters() -> Frozen:
    """Returns the tiny CLIP's parameters as numpy arrays."""
    return jax.tree.map(np.asarray, jax.jit(CLIP(CONFIG).init)(jax.random.key(0)))


def save_clip(folder: Path, changed: str = "") -> Path:
    """Writes the tiny CLIP in the format of transformers, replacing an existing one.

    Args:
        folder: the directory to write to.
        changed: path of an array to write with other values, e.g. "text/block_0/fc/bias".
    """
    flat = flax.traverse_util.flatten_dict(frozen_parameters(), sep="/")
    if changed:
        flat[changed] = flat[changed] + 1
    frozen = flax.traverse_util.unflatten_dict(flat, sep="/")
    saving.save_hugging_face(CONFIG, frozen, folder, "float16", overwrite=True)
    return folder


def save_caltech101(root: Path, train: int = 3, test: int = 3) -> Path:
    """Writes four classes of JPEGs and their split file in the CoOp layout; returns `root`."""
    rng = np.random.default_rng(0)
    split: dict[str, list] = {"train": [], "val": [], "test": []}
    images = root / "caltech-101" / "101_ObjectCategories"
    for label, name in enumerate(CLASSES):
        (images / name).mkdir(parents=True)
        for number in range(train + test):
            pixels = rng.integers(0, 160, (40, 48, 3), dtype=np.uint8)
            pixels[..., label % 3] += 60
            image = f"{name}/image_{number:04}.jpg"
            Image.fromarray(pixels).save(images / image)
            split["train" if number < train else "test"].append([image, label, name])
    (root / "caltech-101" / SPLIT).write_text(json.dumps(split))
    return root


def save_texts(folder: Path, kind: str, images: int = 6) -> Path:
    """Writes texts of a kind for the four classes as KIND.json; returns the file.

    Captions are of so many images per class of `save_caltech101`.
    """
    path = folder / f"{kind}.json"
    texts = class_texts.stand_in(kind, CLASSES)
    assert texts is not None
    content = texts.as_json()
    if kind == class_texts.CAPTIONS:
        content["texts"]["captions"] = [
            [f"{name}/image_{number:04}.jpg", f"{name}, picture {number}"]
            for name in CLASSES
            for number in range(images)
        ]
    path.write_text(json.dumps(content))
    return path


def small_config(method: str, clip: Path, root: Path | None = None, **settings: Any) -> ConfigDict:
    """Returns a config of two epochs on six images of "folder", or on scenes without `root`."""
    c = default.get_config(method, **settings)
    c.backbone = str(clip)
    c.data.shots = 3
    c.data.num_threads = 0
    if root:
        c.data.name = "caltech101"
        c.data.root = str(root)
    else:
        c.data.num_classes = 4
        c.data.test_per_class = 3
    c.batch_size = 2
    c.eval_batch_size = 4
    c.epochs = 2
    c.log_every = 1
    c.checkpoint_every = 2
    return c


@contextlib.contextmanager
def compiled_once(folder: Path) -> Iterator[dict[str, str]]:
    """Shares compiled programs between runs; yields the environment for processes to share them."""
    options = {
        "jax_compilation_cache_dir": str(folder),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in options}
    for name, value in options.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield {name.upper(): str(value) for name, value in options.items()}
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def prompts_of(workdir: Path) -> dict[str, np.ndarray]:
    """Returns the arrays of the newest checkpoint by path, read without the code under test."""
    folder = workdir / "checkpoints"
    step = max(int(path.name) for path in folder.iterdir() if path.name.isdigit())
    with ocp.StandardCheckpointer() as reader:
        metadata = reader.metadata(folder / str(step) / "state").item_metadata
        like = jax.tree.map(lambda m: np.zeros(m.shape, m.dtype), metadata)
        state = reader.restore(folder / str(step) / "state", like)
    leaves = jax.tree.leaves_with_path(state)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def command(*arguments: str, **environment: str) -> subprocess.Popen:
    """Starts `python …` in the repository on the CPU, with its output captured as text."""
    variables = os.environ | {"JAX_PLATFORMS": "cpu", "COLUMNS": "200"} | environment
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=REPOSITORY,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def arguments(config: ConfigDict, workdir: Path) -> list[str]:
    """Returns the command line of a run of `config`, without the program."""
    file = f"experiments/configs/images/method.py:{config.method}"
    words = [f"--config={file}", f"--workdir={workdir}"]
    for key, value in config.items():
        if key in ("data", "settings"):
            words += [f"--config.{key}.{name}={inner}" for name, inner in value.items()]
        else:
            words.append(f"--config.{key}={value}")
    return words


def run_main(words: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """Runs `python -m experiments.main …` in this process; returns its exit code."""
    known = flags.FLAGS
    # Overrides of config fields become flags, which would outlive the call.
    for name in [name for name in known if name.startswith("config.")]:
        delattr(known, name)
    for name in ("config", "workdir"):
        known[name].unparse()
    known.unparse_flags()
    argv = ["experiments.main", *words]
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.chdir(REPOSITORY)
    # If set, it is kept: the user's cache must not change.
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "set")
    return command_line.explain(main.main, argv)

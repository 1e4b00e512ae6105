"""Trains models of a random CLIP for export, and runs exports in a process without JAX."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tiny
import transformers
from PIL import Image
from reference import adapt, random_clip

from prompt_jax import methods
from prompt_jax.cli import commands
from prompt_jax.clip import Frozen, loading, saving
from prompt_jax.clip.vocabulary import bpe
from prompt_jax.export import __main__ as command
from prompt_jax.inputs.images.decoding import open_image
from prompt_jax.inputs.images.transforms import test_transform
from prompt_jax.inputs.preparation import Inputs
from prompt_jax.models.saved import Saved, write
from prompt_jax.text import class_texts

CLIP, _FROZEN = random_clip(vocab_size=49408, context_length=77)
FROZEN: Frozen = _FROZEN | {"logit_scale": jnp.log(jnp.float32(100))}
HASH = loading.fingerprint(CLIP.config, FROZEN)
CLASSES = ("cat", "sea_horse", "Boeing 737-800", "oil painting", "dog", "St. Bernard")
OTHERS = ("sea_horse", "hot air balloon", "cat", "owl")
TEMPLATE = "a photo of a {}, a type of thing."

# Start of a program in which importing JAX or this project fails.
_WITHOUT_JAX = """
import importlib.abc, importlib.util, json, pathlib, sys
class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("jax", "jaxlib", "flax", "prompt_jax"):
            raise ImportError(f"{name} is not to be imported")
sys.meta_path.insert(0, Blocked())
def load_module(folder):
    spec = importlib.util.spec_from_file_location("model", folder / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
def load_tokenizer():
    import transformers
    return transformers.CLIPTokenizer.from_pretrained("tokenizer")
"""
_CHECKED = """
assert not any(name.split(".")[0] in ("jax", "prompt_jax") for name in sys.modules)
"""

# A program that takes a directory of exports and one of images; it writes the logits of trained and
# of other classes beside each export.
PROGRAM = """
import numpy, torch
exports, clip, images, others = sys.argv[1:]
images = sorted(pathlib.Path(images).iterdir())
for folder in sorted(pathlib.Path(exports).iterdir()):
    model = load_module(folder).load(folder, clip)
    batch = torch.stack([model.preprocess(path) for path in images])
    with torch.no_grad():
        numpy.save(folder / "trained.npy", model.iterations(batch))
        assert torch.equal(model(batch[:3]), model.iterations(batch[:3])[-1])
        if model.new_classes and not model.settings.get("class_specific"):
            model.set_classes(json.loads(others), load_tokenizer())
            numpy.save(folder / "others.npy", model.iterations(batch))
    if not model.new_classes:
        model.set_classes(model.names[:0:-1])
        assert model(batch[:3]).shape == (3, len(model.names))
        try:
            model.set_classes(json.loads(others), load_tokenizer())
        except ValueError as error:
            assert "no text features of class" in str(error)
        else:
            raise SystemExit(f"{folder} takes classes without texts")
"""


def save_images(folder: Path, number: int) -> Path:
    """Writes images of coarse random colors and many sizes."""
    folder.mkdir()
    rng = np.random.default_rng(1)
    for n in range(number):
        colours = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)
        size = tuple(rng.integers(12, 60, 2).tolist())
        Image.fromarray(colours).resize(size).save(folder / f"{n:03}.png")
    return folder


def read_images(folder: Path) -> jax.Array:
    """Returns the same images prepared for JAX, float32[B, S, S, 3]."""
    paths = sorted(folder.iterdir())
    size = CLIP.config.image_size
    return jnp.stack([jnp.asarray(test_transform(open_image(p), size)) for p in paths])


def task_of(saved: Saved, names: tuple[str, ...] | None = None) -> methods.Task:
    """Returns the task of a model, on the classes that it was trained on or on others."""
    method = methods.get(saved.method)
    settings = method.Settings(**saved.settings)
    names = names or saved.class_names
    index = methods.index_trained(saved.class_names, names)
    texts = class_texts.stand_in(method.texts, names)
    return methods.make_task(method, CLIP, FROZEN, names, settings, saved.template, index, texts)


def train(name: str, **settings: Any) -> Saved:
    """Returns a model with randomly perturbed initial prompts, in place of a trained one."""
    method = methods.get(name)
    saved = _saved(name, method.Settings(**settings).__dict__, {})
    task = task_of(saved)
    prompts = method.init(jax.random.key(0), task)
    rng = np.random.default_rng(0)
    prompts = jax.tree.map(lambda a: np.asarray(a + 0.1 * rng.standard_normal(a.shape)), prompts)
    if method.adaptation is not None:
        features = rng.standard_normal((2, 18, CLIP.config.embed_dim))
        labels = np.arange(18) % len(CLASSES)
        prompts = adapt(method, prompts, task, jnp.asarray(features, jnp.float32), labels)
    prompts = jax.tree.map(lambda a: np.asarray(a, np.float32), prompts)
    return _saved(name, saved.settings, prompts)


def _saved(name, settings, prompts):
    return Saved(
        method=name,
        kind="images",
        task="classes",
        settings=settings,
        class_names=CLASSES,
        template=TEMPLATE,
        backbone="random",
        backbone_hash=HASH,
        activation="",
        dtype="float32",
        sizes=CLIP.config,
        inputs=Inputs.of(CLIP.config.image_size),
        trained={},
        prompts=prompts,
        texts=class_texts.stand_in(methods.get(name).texts, CLASSES),
    )


def logits_of(saved: Saved, images: jax.Array, names: tuple[str, ...] | None = None) -> jax.Array:
    """Returns JAX's logits, float32[iterations, B, K]."""
    method, task = methods.get(saved.method), task_of(saved, names)

    @jax.jit
    def run(prompts, task, images):
        prepared = method.prepare(prompts, task)
        return method.forward(
            prompts, prepared, task, methods.encode_input(method, task, images)
        ).logits

    return run(saved.prompts, task, images)


def save_run(folder: Path, model: Saved) -> Path:
    """Writes a trained model, and its backbone as "clip" beside it."""
    saving.save_hugging_face(CLIP.config, FROZEN, folder / "clip")
    write(folder, model)
    return folder


def export(run: Path, output: str | Path, *more: str) -> int:
    """Runs the command on such a directory; returns its exit code."""
    words = [str(run), "--output", str(output), "--backbone", str(run / "clip"), *more]
    return commands.explain(command.start, words)


def run_without_jax(program: str, exports: Path, clip: Path, images: Path, *arguments: Any) -> None:
    """Runs a program on every export below a directory in a new process; see `PROGRAM`.

    The names of other classes follow its arguments as JSON, and so does `arguments`.
    """
    command = [sys.executable, "-c", _WITHOUT_JAX + program + _CHECKED]
    paths = [str(exports), str(clip), str(images)]
    save_tokenizer(exports.parent / "tokenizer")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    finished = subprocess.run(
        [*command, *paths, *map(json.dumps, (OTHERS, *arguments))],
        capture_output=True,
        text=True,
        cwd=exports.parent,
        env=environment,
    )
    assert finished.returncode == 0, finished.stderr


def save_tokenizer(folder: Path) -> None:
    """Writes CLIP's tokenizer in the format of transformers."""
    merges = bpe.read_merges()
    transformers.CLIPTokenizer(bpe.number_pieces(merges), merges).save_pretrained(folder)


def check_style(folder: Path) -> None:
    """Checks that the generated code is formatted like this repository."""
    for words in (["check"], ["format", "--check"]):
        settings = ["--config", str(tiny.REPOSITORY / "pyproject.toml"), "--no-cache"]
        command = [sys.executable, "-m", "ruff", *words, *settings, str(folder)]
        finished = subprocess.run(command, capture_output=True, text=True)
        assert finished.returncode == 0, finished.stdout

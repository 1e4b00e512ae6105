"""Trains video models for export, and writes videos."""

import functools
from pathlib import Path
from typing import Any

import exported
import jax
import jax.numpy as jnp
import numpy as np
from exported import CLASSES, CLIP, FROZEN, HASH, TEMPLATE
from PIL import Image

from prompt_jax import methods
from prompt_jax.clip.packing import pack_captions
from prompt_jax.clip.vocabulary.captions import tokenize_captions
from prompt_jax.inputs import preparation
from prompt_jax.inputs.images.preprocessing import CLIP as OWN
from prompt_jax.inputs.preparation import Inputs
from prompt_jax.models import loading
from prompt_jax.models.saved import Saved
from prompt_jax.text import class_texts

FRAMES = 3
TEXTS = (
    "a red ball rolls to the left",
    "someone opens a door, looks around and closes it again",
    "the first of many words, " * 20,
)

# Like `exported.PROGRAM`; for captions it writes the similarities of texts and videos.
PROGRAM = """
import numpy, torch
exports, clip, videos, others, texts = sys.argv[1:]
videos = sorted(pathlib.Path(videos).iterdir())
tokenizer = load_tokenizer()
for folder in sorted(pathlib.Path(exports).iterdir()):
    model = load_module(folder).load(folder, clip)
    batch = torch.stack([model.preprocess(path) for path in videos])
    with torch.no_grad():
        if model.config["class_names"]:
            numpy.save(folder / "trained.npy", model.iterations(batch))
            assert len(model.predict(videos[:2], top_k=3)) == 2
        else:
            texts_ = json.loads(texts)
            numpy.save(folder / "similarities.npy", model.similarities(batch, texts_, tokenizer))
        given, others_ = {}, json.loads(others)
        if hasattr(model, "given"):  # texts of its own for each class
            own = {n: [f"{n.replace('_', ' ')} {i}" for i in range(3)] for n in others_}
            given = {"texts": own}
        model.set_classes(others_, tokenizer, **given)
        numpy.save(folder / "others.npy", model.iterations(batch))
"""


def save_videos(folder: Path, number: int) -> Path:
    """Writes directories of one to six frames of coarse random colors and many sizes."""
    rng = np.random.default_rng(2)
    for clip in range(number):
        (folder / f"{clip:03}").mkdir(parents=True)
        size = tuple(rng.integers(14, 60, 2).tolist())
        for frame in range(int(rng.integers(1, 7))):
            colours = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)
            Image.fromarray(colours).resize(size).save(folder / f"{clip:03}" / f"{frame + 7}.png")
    return folder


def read_videos(folder: Path, inputs: Inputs) -> jax.Array:
    """Returns the same videos prepared for JAX, float32[B, F, S, S, 3]."""
    out = np.empty((len(list(folder.iterdir())), *inputs.shape), np.float32)
    for path, place in zip(sorted(folder.iterdir()), out, strict=True):
        preparation.prepare(path, inputs, place)
    return jnp.asarray(out)


def inputs_of(frame_rule: str = "even", crop: str = "clip") -> Inputs:
    """Returns the preprocessing of the models' videos."""
    return Inputs.of(CLIP.config.image_size, OWN, FRAMES, frame_rule, crop)


def task_of(saved: Saved, names: tuple[str, ...] | None = None) -> tuple[methods.Method, Any]:
    """Returns the method as a classifier, and its task, by default on its own classes."""
    method, settings = loading.method_of(saved)
    names = names or saved.class_names or CLASSES
    index = methods.index_trained(saved.class_names, names)
    tower = methods.tower_for(method, CLIP, "videos")
    made = method, tower, FROZEN, names, settings, saved.template, index
    return method, methods.make_task(*made, texts=class_texts.stand_in(method.texts, names))


def train(name: str, task: str = "classes", inputs: Any = None, **settings: Any) -> Saved:
    """Returns a model with randomly perturbed initial prompts, in place of a trained one."""
    method = methods.find(name, "videos", task)
    make = functools.partial(
        Saved,
        method=name,
        kind="videos",
        task=task,
        settings=method.Settings(**settings).__dict__,
        class_names=CLASSES if task == "classes" else (),
        template=TEMPLATE,
        backbone="random",
        backbone_hash=HASH,
        activation="",
        dtype="float32",
        sizes=CLIP.config,
        inputs=inputs or inputs_of(),
        trained={},
        texts=class_texts.stand_in(method.texts, CLASSES),
    )
    if name in methods.METHODS and task == "classes":
        prompts = exported.train(name, **settings).prompts
    else:
        prompts = method.init(jax.random.key(0), task_of(make(prompts={}))[1])
        rng = np.random.default_rng(0)
        prompts = jax.tree.map(
            lambda a: np.asarray(a + 0.1 * rng.standard_normal(a.shape), np.float32), prompts
        )
    return make(prompts=prompts)


def logits_of(saved: Saved, videos: jax.Array, names: tuple[str, ...] | None = None) -> jax.Array:
    """Returns JAX's logits of classes, float32[iterations, B, K]."""
    method, task = task_of(saved, names)

    @jax.jit
    def run(prompts, task, videos):
        prepared = method.prepare(prompts, task)
        return method.forward(
            prompts, prepared, task, methods.encode_input(method, task, videos)
        ).logits

    return run(saved.prompts, task, videos)


def similarities_of(saved: Saved, videos: jax.Array) -> jax.Array:
    """Returns JAX's similarities of texts, float32[N, B]."""
    encoders = methods.get_encoders(saved.method)
    settings = encoders.Settings(**saved.settings)
    task = methods.make_task(methods.retrieve(encoders), CLIP, FROZEN, (), settings)
    rows = tokenize_captions(TEXTS, encoders.text_prompts(settings), CLIP.config.context_length)
    assert rows.cut == [2]

    @jax.jit
    def run(prompts, task, videos, texts):
        found = encoders.encode_videos(prompts, task, videos)
        return encoders.scale(prompts, task) * encoders.encode_texts(prompts, task, texts) @ found.T

    return run(saved.prompts, task, videos, pack_captions(rows.tokens))

"""Directories of trained models: model.json and prompts.safetensors, through load and predict."""

import hashlib
import json
import struct
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy

import prompt_jax as pj
from prompt_jax import methods
from prompt_jax.clip import loading as clip_loading
from prompt_jax.inputs.preparation import Inputs
from prompt_jax.models import loading, saved
from tests.helpers import tiny

from ..files import Fifo, Files, Folder, Link, collect, write
from ..kind import Kind, Wrong
from ..mutations import BYTES, JSON, change_json

FRAMES = 2
# With single values, shared prompts, computed from shots, of videos, and without training.
METHODS = (("coop", "images"), ("pro_mpt", "images"), ("gda", "images"), ("vop_p", "videos"))
_NUMBERS = (np.nan, np.inf, -np.inf, 3e38, 1e30, -1.0, 0.5, 0.0)


@lru_cache
def _clip() -> Files:
    with tempfile.TemporaryDirectory() as folder:
        return collect(tiny.save_clip(Path(folder)))


def _make() -> list[Files]:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        sizes, frozen = clip_loading.load(tiny.save_clip(place / "clip"))
        tower, placed = loading.place(sizes, frozen, "float32", "highest")
        made = []
        for name, kind in METHODS:
            frames = FRAMES if kind == "videos" else 0
            method = methods.find(name, kind)
            settings = {"frames": frames} if frames else {}
            task = methods.make_task(
                method, tower, placed, tiny.CLASSES, method.Settings(**settings)
            )
            prompts = method.init(jax.random.key(0), task)
            if method.adaptation:
                features = jax.random.normal(jax.random.key(1), (2, 8, sizes.embed_dim))
                prompts = method.adaptation.make(prompts, task, features, jnp.arange(8) % 4)
            model = saved.Saved(
                method=name,
                kind=kind,
                task="classes",
                settings=settings,
                class_names=tiny.CLASSES,
                template="a photo of a {}.",
                backbone="clip",
                backbone_hash=clip_loading.fingerprint(sizes, frozen),
                activation="",
                dtype="float32",
                sizes=sizes,
                inputs=Inputs.of(32, frames=frames, frame_rule="even" if frames else ""),
                trained={"seed": 1, "accuracy": {"base": 50.0}, "config": {"data.shots": 4}},
                prompts=jax.tree.map(np.asarray, prompts),
            )
            (place / name).mkdir()
            saved.write(place / name, model)
            files = {f"model/{path}": entry for path, entry in collect(place / name).items()}
            made.append(files | {f"clip/{path}": entry for path, entry in _clip().items()})
        return made


_MODEL, _PROMPTS = f"model/{saved.MODEL}", f"model/{saved.PROMPTS}"


def _change(random: Random, files: Files, others: Sequence[Files]) -> Files:
    """Damages one or both files; mostly with matching digests, as an attacker would."""
    changed = dict(files)
    match random.randrange(10):
        case 0 | 1 | 2 | 3 | 4:
            changed[_MODEL] = _change_json(random, files[_MODEL], [o[_MODEL] for o in others])
        case 5 | 6:
            changed |= _change_arrays(random, files)
        case 7:
            changed[_PROMPTS] = _change_header(random, files[_PROMPTS])
            changed = _fitting(changed, random.random() < 0.8)
        case 8:
            name = random.choice((_MODEL, _PROMPTS))
            content = random.choice(BYTES)(random, files[name], [o[name] for o in others])
            changed[name] = content
            changed = _fitting(changed, random.random() < 0.8)
        case _:
            name = random.choice((_MODEL, _PROMPTS))
            ways = (Fifo(), Folder(), Link("/dev/zero"), Link("nowhere"), b"", Link(name[6:]))
            changed[name] = random.choice(ways)
            if random.random() < 0.3:
                changed[name] = random.choice(others)[name]  # of another model
    return changed


def _change_json(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    content = json.loads(data)
    del content["digest"]
    for _ in range(random.choice((1, 1, 2, 4))):
        data = random.choice(JSON)(random, json.dumps(content).encode(), others)
        try:
            content = json.loads(data)
        except (ValueError, RecursionError):
            break
    return data


def _change_arrays(random: Random, files: Files) -> Files:
    """Changes values, types, shapes, names or number of arrays, with or without model.json."""
    arrays = safetensors.numpy.load(files[_PROMPTS])
    for _ in range(random.choice((1, 1, 2))):
        if not arrays:
            break
        name = random.choice(sorted(arrays))
        array = np.array(arrays[name])
        match random.randrange(7):
            case 0 | 1 if array.size:
                array.flat[random.randrange(array.size)] = random.choice(_NUMBERS)
                arrays[name] = array
            case 2:
                arrays[name] = array.astype(random.choice(("f8", "f2", "i4", "u1", "?")))
            case 3:
                arrays[name] = np.ascontiguousarray(
                    random.choice(
                        (array[:1], array[..., :1], array[None]) if array.ndim else (array[None],)
                    )
                )
            case 4:
                arrays[random.choice(("", "a", f"{name}.a", "../x", "\x1b[2J"))] = arrays.pop(name)
            case 5:
                del arrays[name]
            case _:
                arrays[name] = np.asarray(array * random.choice(_NUMBERS))
    changed = files | {_PROMPTS: safetensors.numpy.save(arrays)}
    return _fitting(changed, random.random() < 0.9)


def _change_header(random: Random, data: bytes) -> bytes:
    (length,) = struct.unpack_from("<Q", data)
    header = change_json(random, data[8 : 8 + length], ())
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


def _fitting(files: Files, shapes: bool) -> Files:
    """Returns a model.json with the digest and the arrays of prompts.safetensors."""
    try:
        content: Any = json.loads(files[_MODEL])
        content.pop("digest", None)
        content["prompts"]["sha256"] = hashlib.sha256(files[_PROMPTS]).hexdigest()
        if shapes:
            arrays = safetensors.numpy.load(files[_PROMPTS])
            listed = {name: f"{a.dtype}{list(a.shape)}" for name, a in arrays.items()}
            content["prompts"]["arrays"] = listed
    except Exception:  # damaged in any way
        return files
    return files | {_MODEL: json.dumps(content).encode()}


@lru_cache
def _warm() -> None:
    """Compiles and imports what an undamaged model of each method needs."""
    for files in _make():
        with tempfile.TemporaryDirectory() as folder:
            write(files, Path(folder))
            _predict(Path(folder))


def _read(folder: Path) -> None:
    _warm()
    _predict(folder)


def _predict(folder: Path) -> None:
    """Loads the model and predicts; probabilities must be finite, of the file's classes."""
    model = pj.load(folder / "model", backbone=folder / "clip")
    shape = (1, FRAMES, 40, 40, 3) if model.inputs.frames else (2, 40, 40, 3)
    names = model.class_names or ("cat", "dog")
    found = model.predict(np.zeros(shape, np.uint8), names)
    if not np.isfinite(found.logits).all():
        raise Wrong("logits that are no numbers")
    if (
        list(names) != json.loads((folder / _MODEL).read_text())["class_names"]
        and model.class_names
    ):
        raise Wrong("other classes than the file's")
    str(found).encode()


KINDS = [Kind("models", 6, _make, _change, _read)]

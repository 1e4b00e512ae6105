"""Damaged or malicious model directories: the change, and the field that the error names."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from prompt_jax.models import saved

Change = Callable[[Path], None]
DEEP = 3000


def content_of(folder: Path) -> dict[str, Any]:
    """Returns the content of model.json without its digest."""
    content = json.loads((folder / saved.MODEL).read_text())
    content.pop("digest", None)
    return content


def put(field: str, value: Any) -> Change:
    """Sets a field of model.json; "sizes.image_heads" is one of `sizes`."""

    def change(folder: Path) -> None:
        content = content_of(folder)
        *groups, last = field.split(".")
        place = content
        for group in groups:
            place = place[group]
        place[last] = value
        (folder / saved.MODEL).write_text(json.dumps(content))

    return change


def drop(field: str) -> Change:
    """Removes a field of model.json."""

    def change(folder: Path) -> None:
        content = content_of(folder)
        *groups, last = field.split(".")
        place = content
        for group in groups:
            place = place[group]
        del place[last]
        (folder / saved.MODEL).write_text(json.dumps(content))

    return change


def replace_text(text: str) -> Change:
    """Replaces model.json by this text, in which "@" stands for its fields."""

    def change(folder: Path) -> None:
        fields = json.dumps(content_of(folder))[1:-1]
        (folder / saved.MODEL).write_text(text.replace("@", fields))

    return change


def arrays(make: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]) -> Change:
    """Replaces the arrays, with the right digest, types and shapes in model.json."""

    def change(folder: Path) -> None:
        there = safetensors.numpy.load((folder / saved.PROMPTS).read_bytes())
        made = make(there)
        new = safetensors.numpy.save(made, {"format": "prompt_jax"})
        (folder / saved.PROMPTS).write_bytes(new)
        content = content_of(folder)
        content["prompts"]["sha256"] = hashlib.sha256(new).hexdigest()
        shapes = {name: f"{array.dtype}{list(array.shape)}" for name, array in made.items()}
        content["prompts"]["arrays"] = shapes
        (folder / saved.MODEL).write_text(json.dumps(content))

    return change


def file(name: str, make: Callable[[Path], None]) -> Change:
    """Replaces a file by something else."""

    def change(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return change


def fifo(path: Path) -> None:
    """Makes a FIFO, on which readers wait forever."""
    os.mkfifo(path)


def endless(path: Path) -> None:
    """Makes a link to an endless device."""
    path.symlink_to("/dev/zero")


def sparse(path: Path) -> None:
    """Makes a sparse file of 8 GB, which would fill the memory but not the disk."""
    with path.open("wb") as made:
        made.truncate(8 * 10**9)


def undeclared(folder: Path) -> None:
    """Replaces the arrays by others than declared, with the right digest."""
    arrays(lambda there: {"context": there["context"][:1]})(folder)
    put("prompts.arrays.context", "float32[16, 32]")(folder)


def _context(change: Callable[[np.ndarray], np.ndarray]) -> Change:
    return arrays(lambda there: {**there, "context": change(there["context"])})


def _first(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array = np.array(array)
        array.flat[0] = value
        return array

    return change


def _numbers(field: str, value: float) -> Change:
    def change(folder: Path) -> None:
        put(f"inputs.{field}", [value] * 3)(folder)
        put("inputs.stats", "")(folder)

    return change


OF_COOP: dict[str, tuple[Change, str]] = {
    # Every field: absent, null, of another type, or out of its range.
    "not an object": (replace_text("[]"), "does not describe a trained model"),
    "format a word": (put("format", "1"), "does not describe a trained model"),
    "format true": (put("format", True), "does not describe a trained model"),
    "format later": (put("format", 2), "has format 2; this version reads 1"),
    "method null": (put("method", None), "method: None"),
    "method a list": (put("method", ["coop"]), "method: .'coop'."),
    "method missing": (drop("method"), "method: it is missing"),
    "method unknown": (put("method", "cop"), "unknown method 'cop'"),
    "method of videos": (put("method", "vop"), "works on videos"),
    "method from outside": (put("method", "os:system"), "is of type|not one of this package"),
    "method a command": (put("method", "a;rm -rf ~:B"), "is not a module name"),
    "kind other": (put("kind", "cats"), "kind: 'cats'"),
    "kind of videos": (put("kind", "videos"), "inputs.frames: 0, but kind is 'videos'"),
    "task other": (put("task", 3), "task: 3"),
    "task captions": (put("task", "captions"), "task: 'captions' needs kind 'videos'"),
    "settings a number": (put("settings", 5), "settings: 5"),
    "settings null": (put("settings", None), "settings: None"),
    "settings a list": (put("settings", []), "settings: .."),
    "setting unknown": (put("settings.depth", 3), "settings: depth: 3: this version knows no"),
    "setting a word": (put("settings.context_length", "16"), "settings: context_length: '16'"),
    "setting true": (put("settings.context_length", True), "settings: context_length: True"),
    "setting a fraction": (put("settings.context_length", 1.5), "settings: context_length: 1.5"),
    "setting zero": (put("settings.context_length", 0), "settings: context_length=0 must be"),
    "setting vast": (put("settings.context_length", 10**9), "settings: context_length: 1000000000"),
    "setting a choice": (put("settings.name_position", "behind"), "unknown name_position 'behind'"),
    "setting a null": (put("settings.context_words", None), "settings: context_words: None"),
    "setting long": (put("settings.context_words", "a" * 20_000), "settings: context_words"),
    "words of more tokens": (put("settings.context_words", "a " * 50), "context has 16 vectors"),
    "classes a word": (put("class_names", "cat"), "class_names: 'cat'"),
    "classes null": (put("class_names", None), "class_names: None"),
    "classes an object": (put("class_names", {"a": 1}), "class_names: .'a': 1."),
    "class a number": (put("class_names", ["cat", 7]), "class_names.1: 7"),
    "class empty": (
        put("class_names", ["cat", " "]),
        "class_names.1: ' ': a class name must not be empty",
    ),
    "classes of one prompt": (
        put("class_names", ["Cat", "cat", "dog", "owl"]),
        "class_names: classes 'Cat' and 'cat' make the same prompt",
    ),
    "class unseen": (
        put("class_names", ["\u200b", "dog", "a", "b"]),
        r"class_names: class '.u200b' is empty",
    ),
    "class long": (put("class_names", ["cat", "a" * 20_000]), "class_names.1"),
    "classes many": (put("class_names", ["a"] * 100_001), "class_names"),
    "template null": (put("template", None), "template: None"),
    "template without a place": (put("template", "a photo"), "template: 'a photo' must contain"),
    "template with two": (put("template", "{} {}"), "template: '{} {}' must contain"),
    "backbone null": (put("backbone", None), "backbone: None"),
    "backbone empty": (put("backbone", ""), "backbone: ''"),
    "backbone long": (put("backbone", "a" * 5000), "backbone: 'a"),
    "hash other": (put("backbone_hash", "0" * 16), "trained on another backbone"),
    "hash a path": (put("backbone_hash", "../../etc"), "backbone_hash: '../../etc'"),
    "hash a number": (put("backbone_hash", 7), "backbone_hash: 7"),
    "activation other": (put("activation", "relu"), "activation: 'relu'"),
    "dtype of integers": (put("dtype", "int8"), "dtype: 'int8'"),
    "dtype null": (put("dtype", None), "dtype: None"),
    "dtype a list": (put("dtype", ["float32"]), "dtype: .'float32'."),
    "precision other": (put("precision", "low"), "precision: 'low'"),
    "ids of no classes": (put("class_ids", ["n01440764"]), "class_ids: 1 of them, but 4 class_na"),
    "ids a word": (put("class_ids", "n01440764"), "class_ids: 'n01440764'"),
    "sizes a list": (put("sizes", []), "sizes: .."),
    "sizes empty": (put("sizes", {}), "sizes: image_size: it is missing"),
    "size unknown": (put("sizes.depth", 3), "sizes: depth: 3: this version knows no"),
    "size negative": (put("sizes.image_width", -32), "sizes: image_width: -32"),
    "size a fraction": (put("sizes.text_mlp", 64.5), "sizes: text_mlp: 64.5"),
    "layers vast": (put("sizes.image_layers", 10**9), "sizes: image_layers: 1000000000"),
    "layers others": (put("sizes.image_layers", 5), "sizes.image_layers of model.json is 5"),
    "heads others": (put("sizes.image_heads", 1), "sizes.image_heads of model.json is 1"),
    "heads none": (put("sizes.text_heads", 0), "sizes: text_heads: 0"),
    "heads that do not divide": (put("sizes.text_heads", 5), "sizes: text_width=32 is not div"),
    "patch others": (put("sizes.patch_size", 8), "sizes.patch_size of model.json is 8"),
    "patch that does not divide": (put("sizes.patch_size", 5), "sizes: image_size=32 is not a"),
    "sizes' activation": (put("sizes.activation", "gelu"), "trained on another backbone"),
    "sizes' activation long": (put("sizes.activation", "9" * 9000), "sizes: activation: '999"),
    "features others": (put("sizes.embed_dim", 8), "sizes.embed_dim of model.json is 8"),
    "inputs null": (put("inputs", None), "inputs: None"),
    "inputs unknown": (put("inputs.blur", 3), "inputs: blur: 3: this version knows no"),
    "inputs without a size": (drop("inputs.image_size"), "inputs: image_size: it is missing"),
    "image other": (put("inputs.image_size", 48), "inputs.image_size: 48, but sizes.image_size"),
    "mean a word": (put("inputs.mean", "abc"), "inputs: mean: 'abc'"),
    "mean of two": (put("inputs.mean", [0.5, 0.5]), "inputs: mean"),
    "mean vast": (put("inputs.mean", [1e30] * 3), "inputs"),
    "std zero": (put("inputs.std", [0, 0, 0]), "inputs"),
    "std negative": (put("inputs.std", [-0.2, 0.2, 0.2]), "inputs"),
    "std tiny": (_numbers("std", 2e-6), "inputs: std=.*: each must be from 0.0001 to 1"),
    "mean of 0..255": (_numbers("mean", 1e5), "inputs: mean=.*: each must be from 0 to 1"),
    "stats other": (put("inputs.stats", "mine"), "inputs: stats: 'mine'"),
    "resized to a vast size": (put("inputs.resize_to", 60_000), "inputs.resize_to: 60000 is more"),
    "resized by other means": (
        put("inputs.interpolation", "sinc"),
        "inputs: interpolation: 'sinc'",
    ),
    "upright a word": (put("inputs.upright", "no"), "inputs: upright: 'no'"),
    "frames of images": (put("inputs.frames", 8), "inputs.frames: 8, but kind is 'images'"),
    "rule of images": (put("inputs.frame_rule", "even"), "inputs.frame_rule: 'even'"),
    "crop of images": (put("inputs.crop", "vifi"), "inputs.crop: 'vifi'"),
    "trained a list": (put("trained", [1]), "trained: .1."),
    "seed a text": (put("trained.seed", "1\n# a heading"), r"trained.seed: '1\\n# a heading'"),
    "views negative": (put("trained.views", -1), "trained.views: -1"),
    "figures a text": (put("trained.accuracy", "high"), "trained.accuracy: 'high'"),
    "figure null": (put("trained.accuracy", {"base": None}), "trained.accuracy.base: None"),
    "shots below zero": (put("trained.shots", -5), "trained.shots: -5"),
    "shots of no class": (put("trained.shots_per_class", []), "trained.shots_per_class"),
    "shots the wrong way": (
        put("trained.shots_per_class", [5, 2]),
        "shots_per_class.*the smallest",
    ),
    "a figure below zero": (put("trained.accuracy", {"base": -5}), "trained.accuracy.base: -5"),
    "a figure of no size": (put("trained.accuracy", {"a": 1e308}), "trained.accuracy.a: 1e.308"),
    "a test set that is a path": (put("trained.zero_shot", {"a/b": 5}), "trained.zero_shot.a/b"),
    "chosen beyond numbers": (
        put("trained.chosen", {"values": {"alpha": 10**400}}),
        "trained.chosen.values.alpha",
    ),
    "chosen a number": (put("trained.chosen", {"values": 10**400}), "trained.chosen.values"),
    "a protocol too long": (put("trained.protocol", "a" * 1001), "trained.protocol"),
    "activation another": (
        put("activation", "gelu"),
        "activation: 'gelu', but sizes.activation is 'quick_gelu'",
    ),
    "trained vast": (put("trained.more", "a" * 2**21), "trained: .* characters as JSON"),
    "prompts null": (put("prompts", None), "prompts: None"),
    "prompts elsewhere": (put("prompts.file", "../x"), "prompts.file: '../x'"),
    "digest of prompts": (put("prompts.sha256", "0" * 64), "was changed or damaged"),
    "digest of prompts a list": (put("prompts.sha256", [0]), "prompts.sha256: .0."),
    "arrays null": (put("prompts.arrays", None), "prompts.arrays: None"),
    "arrays none": (put("prompts.arrays", {}), "prompts.arrays.context: it is missing"),
    "array a number": (put("prompts.arrays.context", 7), "prompts.arrays.context: 7"),
    "array of no shape": (put("prompts.arrays.context", "float32"), "prompts.arrays.context"),
    "array vast": (put("prompts.arrays.context", "float32[10000000000, 32]"), "arrays.context"),
    "array unknown": (put("prompts.arrays.more", "float32[2]"), "prompts.arrays.more: float32.2."),
    "unknown field": (put("more", 1), "more: 1: this version knows no such field"),
    "digest another": (put("digest", "0" * 16), "does not match its digest"),
    # Invalid JSON.
    "no JSON": (replace_text("{"), "cannot be read"),
    "3,000 levels": (replace_text('{"more": ' + "[" * DEEP + "]" * DEEP + ", @}"), "too deep"),
    "3,000 levels of objects": (
        replace_text('{"more": ' + '{"a":' * DEEP + "1" + "}" * DEEP + "}"),
        "deep",
    ),
    "a field twice": (replace_text('{"method": "vop", @}'), "key 'method' occurs twice"),
    "a number that is none": (replace_text('{"more": NaN, @}'), "NaN is not valid JSON"),
    "too large a number": (replace_text('{"more": 1e999, @}'), "1e999 is too large"),
    "half a character": (replace_text(r'{"more": "\ud800", @}'), "cannot be read"),
    # Arrays.
    "prompts NaN": (_context(_first(np.nan)), "prompts.context: it has NaN or infinite"),
    "prompts infinite": (_context(_first(np.inf)), "prompts.context: it has NaN"),
    "prompts of other rows": (_context(lambda a: a[:7]), r"prompts.arrays.context: float32\[7, 32"),
    "prompts of no rows": (_context(lambda a: a[:0]), r"prompts.arrays.context: float32\[0, 32\]"),
    "prompts of other width": (_context(lambda a: a[:, :9]), "prompts.arrays.context"),
    "prompts of three axes": (_context(lambda a: a[None]), "prompts.arrays.context"),
    "a single number": (_context(lambda a: np.array(a[0, 0])), "prompts.arrays.context"),
    "prompts of doubles": (_context(np.float64), "prompts.arrays.context: float64"),
    "prompts of integers": (_context(lambda a: a.astype(np.int32)), "arrays.context: int32"),
    "prompts renamed": (arrays(lambda a: {"ctx": a["context"]}), "prompts.arrays.context: it is"),
    "prompts empty": (arrays(lambda a: {}), "prompts.arrays.context: it is missing"),
    "an array inside another": (
        arrays(lambda a: {**a, "context.more": a["context"]}),
        "prompts.arrays.context.more",
    ),
    "a class's context": (put("settings.class_specific", True), "prompts.arrays.context"),
    "others than declared": (undeclared, "does not match model.json"),
    # Special or very large files.
    "model.json a FIFO": (file(saved.MODEL, fifo), "not a regular file"),
    "model.json endless": (file(saved.MODEL, endless), "not a regular file"),
    "model.json sparse": (file(saved.MODEL, sparse), "8,000,000,000 bytes"),
    "model.json a folder": (file(saved.MODEL, Path.mkdir), "."),
    "prompts a FIFO": (file(saved.PROMPTS, fifo), "not a regular file"),
    "prompts endless": (file(saved.PROMPTS, endless), "not a regular file"),
    "prompts sparse": (file(saved.PROMPTS, sparse), "8,000,000,000 bytes"),
    "prompts a folder": (file(saved.PROMPTS, Path.mkdir), "prompts.safetensors"),
    "prompts missing": (file(saved.PROMPTS, lambda path: None), "cannot be read"),
}

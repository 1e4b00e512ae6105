"""Writes the export directory: prompts.safetensors, config.json and model.py."""

import dataclasses
import errno
import hashlib
import json
import pathlib
import pkgutil
import re
import warnings
from collections.abc import Sequence
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from prompt_jax import methods
from prompt_jax.clip import CLIP, Frozen, tokenizer
from prompt_jax.clip import loading as clip_loading
from prompt_jax.clip.checkpoints import layouts, preprocessing_files
from prompt_jax.clip.layers import unstack_layers
from prompt_jax.clip.saving import save_hugging_face
from prompt_jax.errors import PromptError, escape, shorten
from prompt_jax.export import source
from prompt_jax.methods.record import NAME_ALONE, no_arrays
from prompt_jax.models import loading
from prompt_jax.models import saved as trained
from prompt_jax.models.model import Model
from prompt_jax.models.saved import Saved
from prompt_jax.storage.files import read_json, seal, write_files, write_text
from prompt_jax.text.class_names import fill

FORMAT = "prompt_jax export 1"
CONFIG, PROMPTS, CODE, CLIP_FOLDER = "config.json", "prompts.safetensors", "model.py", "clip"
PREPROCESS = "preprocess.py"
"""Prepares images for model.onnx without torch."""
FORMATS = tuple(
    module.name.removeprefix("to_")
    for module in pkgutil.iter_modules([str(pathlib.Path(__file__).parent)])
    if module.name.startswith("to_")
)
"""Further formats: `to_onnx` writes "onnx", to model.onnx and, if large, model.onnx.data."""

_FILES = (
    CONFIG,
    PROMPTS,
    CODE,
    PREPROCESS,
    *(f"model.{one}{end}" for one in FORMATS for end in ("", ".data")),
)
_FOLDERS = (CLIP_FOLDER, "__pycache__")
_NAME = re.compile("[A-Za-z0-9_]+")
# Arrays by whose mean magnitudes the PyTorch code identifies the backbone.
_KNOWN_BY = ("visual.conv1.weight", "visual.proj", "token_embedding.weight", "text_projection")


def read(
    run: pathlib.Path, backbone: str | None = None, own: str = "", needs_code: bool = True
) -> tuple[Saved, Frozen]:
    """Reads a trained model and its backbone's parameters, as numpy arrays.

    Args:
        run: run directory.
        backbone: path or name of the backbone, if it was moved; None: as in training.
        own: see `find_part`.
        needs_code: whether a method without PyTorch code is rejected.

    Raises:
        PromptError: there is no model, its method cannot be exported, the backbone is missing or
            does not match, or its logits are not finite.
    """
    model = trained.read(run)
    if needs_code or has_code(model, own):
        find_part(model, own)
    else:
        _refuse_blocks(model)
    restored = loading.restore(model, run, backbone)
    if model.class_names:
        check_outputs(restored)
    return model, jax.tree.map(np.asarray, unstack_layers(restored.frozen))


def check_outputs(model: Model) -> None:
    """Raises a PromptError if a model has no finite logits for a noise image."""
    noise = np.random.default_rng(0).integers(0, 256, (1, *model.inputs.shape), np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a single class or repeated names do not matter here
        model.predict(noise)


def has_code(model: Saved, own: str = "") -> bool:
    """Returns whether there is PyTorch code for the model's method; see `find_part`."""
    return bool(own) or _part_of(model) in source.methods()


def find_part(model: Saved, own: str = "") -> str:
    """Returns the name of the part that implements the model's method in PyTorch.

    Args:
        model: the model.
        own: "module:CLASS", a class of the user in its place; "": that of `torch_parts`.

    Raises:
        PromptError: there is none, it cannot be used, or predictions depend on each other.
    """
    if own:
        source.check_own(own)
    elif not has_code(model):
        raise PromptError(
            f"method {model.method!r} for {model.kind} has no PyTorch code: name a class of yours, "
            "--torch-class my_package.my_torch:CLASS (docs/export.md), or pass --stablehlo alone, "
            "which needs none"
        )
    _refuse_blocks(model)
    return own or _part_of(model)


def _part_of(model: Saved) -> str:
    record = _find_record(model)
    return (record and record.export) or model.method


def _refuse_blocks(model: Saved) -> None:
    """Raises a PromptError if predictions depend on the other images."""
    record = _find_record(model)
    if methods.find(model.method, model.kind, model.task).block(model.prompts):
        raise PromptError(
            f"predictions of this model of {model.method!r} depend on the other images, and an "
            "export predicts each image by itself; train it with "
            f"{record.alone if record and record.alone else 'another method'}"
        )


def _find_record(model: Saved) -> methods.Record | None:
    return methods.find_record(model.method, "videos" if is_of_texts(model) else "images")


def check_arrays(model: Saved) -> None:
    """Raises a PromptError if an array has an invalid name.

    PyTorch's exporters put array names into Python code that they generate and run.
    """
    for path in flax.traverse_util.flatten_dict(model.prompts):
        if not all(_NAME.fullmatch(part) for part in path):
            raise PromptError(
                f"{trained.PROMPTS}: {shorten('.'.join(path))} is not a valid array name; use "
                "ASCII letters, digits and underscores, joined by dots"
            )


def is_of_texts(model: Saved) -> bool:
    """Returns whether the method has a video and a text encoder (`methods.ENCODERS`)."""
    return model.kind == "videos" and (
        model.task == "captions" or not methods.of_images(model.method)
    )


def check_classes(model: Saved, form: str) -> None:
    """Raises a PromptError if the model has no classes."""
    if not model.class_names:
        raise PromptError(
            f"{form} exports a classifier, but the model was trained on captions and has no "
            "classes; use encode_videos and encode_texts of model.py"
        )


def check_place(folder: pathlib.Path) -> bool:
    """Returns whether a directory holds an earlier export, which `replacing` may replace.

    Raises:
        PromptError: it holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise PromptError(f"--output {folder} is a file; name a new directory")
    there = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    others = [name for name in there if name not in (*_FILES, *_FOLDERS)]
    if there and (others or not _is_export(folder)):
        raise PromptError(
            f"--output {folder} holds {escape(', '.join((others or there)[:3]))}, not written by "
            "an export; name a new or empty directory, or that of an earlier export"
        )
    return bool(there)


def _is_export(folder):
    try:
        content = read_json(folder / CONFIG)
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("format") == FORMAT


def write(
    folder: pathlib.Path,
    model: Saved,
    frozen: Frozen,
    with_backbone: bool = False,
    own: str = "",
) -> None:
    """Writes config.json, prompts.safetensors, model.py, and optionally the backbone.

    Without PyTorch code for the method (`has_code`) there is no model.py.

    Raises:
        OSError: they cannot be written.
        PromptError: an array has an invalid name.
    """
    check_arrays(model)
    arrays = flax.traverse_util.flatten_dict(model.prompts, sep=".")
    arrays |= arrays_of_classes(model, frozen)
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    prompts = safetensors.numpy.save(arrays)
    described = describe(model, frozen) | {"sha256": hashlib.sha256(prompts).hexdigest()}
    described = json.loads(json.dumps(described))  # tuples become lists, as in the digest
    config = json.dumps(seal(described), ensure_ascii=False) + "\n"
    contents = {CONFIG: config.encode(), PROMPTS: prompts}
    if has_code(model, own):
        contents[CODE] = code_of(model, own).encode()
    write_files({folder / name: content for name, content in contents.items()})
    if with_backbone:
        save_hugging_face(model.sizes, frozen, folder / CLIP_FOLDER)
        prepared, size = model.inputs.preprocessing, model.inputs.image_size
        if processor := preprocessing_files.hugging_face(prepared, size):
            text = json.dumps(processor, indent=2) + "\n"
            write_text(folder / CLIP_FOLDER / preprocessing_files.HUGGING_FACE, text)
        written = clip_loading.load(folder / CLIP_FOLDER)
        if clip_loading.fingerprint(*written) != model.backbone_hash:
            raise OSError(errno.EIO, "the content read back differs", CLIP_FOLDER)


def takes_new_classes(model: Saved) -> bool:
    """Returns whether the PyTorch code encodes names of other classes."""
    record = _find_record(model)
    return record is None or record.exported is no_arrays


def arrays_of_classes(model: Saved, frozen: Frozen) -> dict[str, Any]:
    """Returns the arrays of `Record.exported`, by name."""
    record = _find_record(model)
    if record is None or takes_new_classes(model):
        return {}
    method, settings = loading.method_of(model)
    clip = methods.tower_for(method, CLIP(model.sizes, jnp.dtype("float32")), model.kind)
    frozen = jax.tree.map(jnp.asarray, frozen)
    made = method, clip, frozen, model.class_names, settings, model.template
    return dict(record.exported(methods.make_task(*made, texts=model.texts)))


def code_of(model: Saved, own: str = "") -> str:
    """Returns the source of model.py, chosen by method and kind from text of this package.

    `own` names a class of the user, see `find_part`.
    """
    task: source.Task = "captions"
    if model.class_names:
        task = "videos" if model.kind == "videos" else "images"
    part = find_part(model, own)
    return source.assemble(part, task, model.kind == "videos" and not is_of_texts(model))


def describe(model: Saved, frozen: Frozen) -> dict[str, Any]:
    """Returns the content of config.json.

    It has the fields of `Saved` except the prompts; "tokens", see `tokens_of`; "word_ids", the ids
    of the setting `context_words`; and "weights", the mean magnitudes of some arrays of the
    backbone. `write` adds the "sha256" of prompts.safetensors and a digest of all fields.
    `torch_parts.reading` checks them.
    """
    fields = {field.name for field in dataclasses.fields(Saved)} - {"prompts", "trained", "texts"}
    words = model.settings.get("context_words", "")
    layout = layouts.openai_layout(model.sizes.image_layers, model.sizes.text_layers)
    state = layouts.from_tree(layout, frozen)
    return {
        "format": FORMAT,
        **{name: getattr(model, name) for name in sorted(fields)},
        "sizes": dataclasses.asdict(model.sizes),
        "inputs": dataclasses.asdict(model.inputs),
        "weights": {name: float(np.abs(state[name]).mean(dtype=np.float64)) for name in _KNOWN_BY},
        "tokens": tokens_of(model),
        "word_ids": tokenizer.encode(words),
        "trained": model.trained,
    }


def tokens_of(model: Saved) -> dict[str, list[list[int]]]:
    """Returns token ids of each class by template; of each class's own texts by their number.

    A class with fewer texts than others has empty ones in their place.
    """
    if model.texts is None or not is_of_texts(model):
        return {text: tokenize(text, model.class_names) for text in templates_of(model)}
    texts = model.texts.of(model.class_names)
    return {
        str(number): [
            as_tokens(some[number]) if number < len(some) else as_tokens("") for some in texts
        ]
        for number in range(max(map(len, texts)))
    }


def templates_of(model: Saved) -> tuple[str, ...]:
    """Returns the templates of class texts, with "{}" for the name, that the method encodes."""
    if is_of_texts(model):
        encoders = methods.get_encoders(model.method)
        return (encoders.template(encoders.Settings(**model.settings), model.template),)
    settings = methods.get(model.method).Settings(**model.settings)
    record = _find_record(model)
    return record.texts(settings, model.template) if record else (NAME_ALONE,)


def tokenize(template: str, names: Sequence[str]) -> list[list[int]]:
    """Returns token ids of the template filled with each name, from SOS to EOT."""
    return [as_tokens(fill(template, name)) for name in names]


def as_tokens(text: str) -> list[int]:
    """Returns token ids of a text, from SOS to EOT."""
    return [tokenizer.SOS, *tokenizer.encode(text), tokenizer.EOT]

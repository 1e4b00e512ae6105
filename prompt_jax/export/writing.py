"""The exported folder: what was trained, what is to know about it, and the PyTorch to run it."""

import dataclasses
import errno
import hashlib
import json
import pathlib
import re
import warnings
from collections.abc import Sequence
from typing import Any

import flax.traverse_util
import jax
import numpy as np
import safetensors.numpy

from prompt_jax import methods
from prompt_jax.clip import Frozen, tokenizer
from prompt_jax.clip import loading as clip_loading
from prompt_jax.clip.checkpoints import layouts, preprocessing_files
from prompt_jax.clip.saving import save_hugging_face
from prompt_jax.errors import PromptError, escape, shorten
from prompt_jax.export import source
from prompt_jax.methods.record import NAME_ALONE
from prompt_jax.models import loading
from prompt_jax.models import saved as trained
from prompt_jax.models.model import Model
from prompt_jax.models.saved import Saved
from prompt_jax.storage.files import read_json, seal, write_files, write_text
from prompt_jax.text.class_names import fill

FORMAT = "prompt_jax export 1"
CONFIG, PROMPTS, CODE, CLIP_FOLDER = "config.json", "prompts.safetensors", "model.py", "clip"
ONNX, STABLEHLO = "model.onnx", "model.stablehlo"
_FILES = (CONFIG, PROMPTS, CODE, ONNX, f"{ONNX}.data", STABLEHLO)
_FOLDERS = (CLIP_FOLDER, "__pycache__")
_NAME = re.compile("[A-Za-z0-9_]+")
# By whose mean sizes the PyTorch code knows the backbone again.
_KNOWN_BY = ("visual.conv1.weight", "visual.proj", "token_embedding.weight", "text_projection")


def read(run: pathlib.Path, backbone: str | None = None) -> tuple[Saved, Frozen]:
    """A trained model, and its backbone's parameters as numpy arrays.

    Args:
        run: its folder.
        backbone: where the backbone is now; None: where it was in training.

    Raises:
        PromptError: the folder holds no such model, its method cannot be exported, the backbone is
            not there or another one, or its answers are infinite or no numbers.
    """
    model = trained.read(run)
    find_part(model)
    restored = loading.restore(model, run, backbone)
    if model.class_names:
        try_out(restored)
    return model, jax.tree.map(np.asarray, restored.frozen)


def try_out(model: Model) -> None:
    """Raises a PromptError if a model cannot say what noise shows: then it says nothing of use."""
    noise = np.random.default_rng(0).integers(0, 256, (1, *model.inputs.shape), np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a single class, or equal names: no matter here
        model.predict(noise)


def find_part(model: Saved) -> str:
    """The part of `torch_parts` that is the model's method.

    Raises:
        PromptError: there is none.
    """
    record = _find_record(model)
    part = (record and record.export) or model.method
    if part not in source.methods():
        raise PromptError(
            f"method {model.method!r} of {model.kind} has no PyTorch form; write one in "
            f"{source.PARTS}"
        )
    return part


def _find_record(model: Saved) -> methods.Record | None:
    return methods.find_record(model.method, "videos" if is_of_texts(model) else "images")


def check_arrays(model: Saved) -> None:
    """Raises a PromptError if an array has a name that none of ours has.

    PyTorch's exporters put names of arrays into Python code that they generate, and run that.
    """
    for path in flax.traverse_util.flatten_dict(model.prompts):
        if not all(_NAME.fullmatch(part) for part in path):
            raise PromptError(
                f"{trained.PROMPTS}: {shorten('.'.join(path))} is no name of an array; names have "
                "letters of ASCII, digits, underscores, and full stops between them"
            )


def is_of_texts(model: Saved) -> bool:
    """Whether it is a method of videos and texts, one of `methods.ENCODERS`."""
    return model.kind == "videos" and (
        model.task == "captions" or not methods.of_images(model.method)
    )


def check_classes(model: Saved, form: str) -> None:
    """Raises a PromptError if there are no classes that a program could tell apart."""
    if not model.class_names:
        raise PromptError(
            f"{form} writes a program that tells classes apart, and the model was trained on "
            "captions: use model.py, whose encode_videos and encode_texts take any"
        )


def check_place(folder: pathlib.Path) -> bool:
    """Whether an earlier export lies in a folder, which a new one replaces; see `replacing`.

    Raises:
        PromptError: it holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise PromptError(f"--output {folder} is a file; name a new folder")
    there = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    others = [name for name in there if name not in (*_FILES, *_FOLDERS)]
    if there and (others or not _is_export(folder)):
        raise PromptError(
            f"--output {folder} holds {escape(', '.join((others or there)[:3]))}, which no export "
            "wrote; name a new or an empty folder, or the folder of an earlier export"
        )
    return bool(there)


def _is_export(folder):
    try:
        content = read_json(folder / CONFIG)
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("format") == FORMAT


def write(folder: pathlib.Path, model: Saved, frozen: Frozen, with_backbone: bool = False) -> None:
    """Writes config.json, prompts.safetensors and model.py, and the backbone if it is wanted.

    Raises:
        OSError: they cannot be written.
        PromptError: an array has a name that none of ours has.
    """
    check_arrays(model)
    arrays = flax.traverse_util.flatten_dict(model.prompts, sep=".")
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    prompts = safetensors.numpy.save(arrays)
    described = describe(model, frozen) | {"sha256": hashlib.sha256(prompts).hexdigest()}
    described = json.loads(json.dumps(described))  # as it will be read, of which its digest is
    config = json.dumps(seal(described), ensure_ascii=False) + "\n"
    contents = {CONFIG: config.encode(), PROMPTS: prompts, CODE: code_of(model).encode()}
    write_files({folder / name: content for name, content in contents.items()})
    if with_backbone:
        save_hugging_face(model.sizes, frozen, folder / CLIP_FOLDER)
        prepared, size = model.inputs.preprocessing, model.inputs.image_size
        if processor := preprocessing_files.hugging_face(prepared, size):
            text = json.dumps(processor, indent=2) + "\n"
            write_text(folder / CLIP_FOLDER / preprocessing_files.HUGGING_FACE, text)
        written = clip_loading.load(folder / CLIP_FOLDER)
        if clip_loading.fingerprint(*written) != model.backbone_hash:
            raise OSError(errno.EIO, "what was written is not what is read back", CLIP_FOLDER)


def code_of(model: Saved) -> str:
    """Returns the source of model.py: text of this package alone, chosen by method and kind."""
    sees: source.Sees = "captions"
    if model.class_names:
        sees = "videos" if model.kind == "videos" else "images"
    return source.assemble(
        find_part(model), sees, model.kind == "videos" and not is_of_texts(model)
    )


def describe(model: Saved, frozen: Frozen) -> dict[str, Any]:
    """What config.json says.

    It has the fields of `Saved` but the prompts; "tokens", a row of ids for each class by the
    template of the text; "word_ids", those of the settings' context words; and "weights", the mean
    sizes of some of the backbone's arrays. `write` adds the "sha256" of prompts.safetensors, and a
    digest of all this. `torch_parts.reading` says what each may hold.
    """
    fields = {field.name for field in dataclasses.fields(Saved)} - {"prompts", "trained"}
    rows = {text: tokenize(text, model.class_names) for text in templates_of(model)}
    words = model.settings.get("context_words", "")
    layout = layouts.openai_layout(model.sizes.image_layers, model.sizes.text_layers)
    state = layouts.from_tree(layout, frozen)
    return {
        "format": FORMAT,
        **{name: getattr(model, name) for name in sorted(fields)},
        "sizes": dataclasses.asdict(model.sizes),
        "inputs": dataclasses.asdict(model.inputs),
        "weights": {name: float(np.abs(state[name]).mean(dtype=np.float64)) for name in _KNOWN_BY},
        "tokens": rows,
        "word_ids": tokenizer.encode(words),
        "trained": model.trained,
    }


def templates_of(model: Saved) -> tuple[str, ...]:
    """The texts of a class, "{}" for its name, that the method encodes when it tells apart."""
    if is_of_texts(model):
        encoders = methods.get_encoders(model.method)
        return (encoders.template(encoders.Settings(**model.settings), model.template),)
    settings = methods.get(model.method).Settings(**model.settings)
    record = _find_record(model)
    return record.texts(settings, model.template) if record else (NAME_ALONE,)


def tokenize(template: str, names: Sequence[str]) -> list[list[int]]:
    """Token ids of the template filled with each name, from SOS to EOT."""
    texts = (fill(template, name) for name in names)
    return [[tokenizer.SOS, *tokenizer.encode(text), tokenizer.EOT] for text in texts]

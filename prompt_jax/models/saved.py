"""Reads and writes trained models: prompts.safetensors holds the arrays, model.json all else.

If the method reads texts of classes, texts.json holds them. The files are in a run directory, and
are those that are shared. Array names are paths in the pytree,
joined by dots: "vision_generator.linear1.kernel". docs/run_files.md explains the fields.
"""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import flax.traverse_util
import jax
import numpy as np
import safetensors.numpy

from prompt_jax import methods
from prompt_jax.clip import CLIPConfig, loading
from prompt_jax.errors import PromptError, escape, quote
from prompt_jax.inputs.preparation import Inputs
from prompt_jax.models import saved_arrays, saved_fields
from prompt_jax.storage.files import (
    check,
    check_seal,
    filling,
    is_free,
    read_json,
    seal,
    write_files,
)
from prompt_jax.text import class_texts, text_files
from prompt_jax.text.class_texts import Texts

MODEL, PROMPTS, TEXTS = "model.json", "prompts.safetensors", "texts.json"
FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Saved:
    """A trained model without its backbone.

    Attributes:
        method: name of the method.
        kind: "images" or "videos".
        task: "classes", or for videos also "captions".
        settings: the fields of the method's `Settings`.
        class_names: classes of the training; empty for captions.
        template: the data set's text of a class, with "{}" for its name.
        backbone: the argument of `clip.loading.load`.
        backbone_hash: see `clip.loading.fingerprint`.
        activation: the second argument of `clip.loading.load`; "": as the checkpoint states.
        dtype: compute type of the frozen towers.
        precision: of their float32 products, see `CLIP.precision`; missing in earlier files.
        sizes: sizes of the backbone.
        inputs: preprocessing of images or videos.
        trained: a record of the training for reports: data, shots, seed, accuracy, commit.
        prompts: pytree of numpy arrays; an empty dict if the method trains nothing.
        class_ids: WordNet ids of the classes (ImageNet); empty if the data has none.
        texts: texts of classes, if the method reads them; model.json has their digest.
        temperature: number that logits are divided by; missing in earlier files.
    """

    method: str
    kind: str
    task: str
    settings: Mapping[str, Any]
    class_names: tuple[str, ...]
    template: str
    backbone: str
    backbone_hash: str
    activation: str
    dtype: str
    sizes: CLIPConfig
    inputs: Inputs
    trained: Mapping[str, Any]
    prompts: Any
    precision: str = "highest"
    class_ids: tuple[str, ...] = ()
    texts: Texts | None = None
    temperature: float = 1.0


def of_model(model: Any) -> Saved:
    """Returns a `Model` as it is saved."""
    config, frozen = model.clip.config, jax.tree.map(np.asarray, model.frozen)
    return Saved(
        method=model.name,
        kind=f"{model.inputs.kind}s",
        task=model.task,
        settings=dataclasses.asdict(model.settings),
        class_names=model.class_names,
        template=model.template,
        backbone=model.backbone,
        backbone_hash=loading.fingerprint(config, frozen),
        activation=model.activation,
        dtype=model.clip.dtype.name,
        precision=model.clip.precision,
        sizes=config,
        inputs=model.inputs,
        trained={"assumed": list(model.assumed), **model.trained},
        prompts=jax.tree.map(np.asarray, model.prompts),
        class_ids=model.class_ids,
        texts=model.class_texts,
        temperature=model.temperature,
    )


_FIELDS = {field.name for field in dataclasses.fields(Saved)}


def save(model: Any, folder: pathlib.Path, overwrite: bool) -> pathlib.Path:
    """Writes a `Model` into a new directory; see `Model.save`."""
    if model.texts:
        raise PromptError(f"a model of {len(model.texts)} templates cannot be saved; use one")
    if is_free(folder):
        with filling(folder) as aside:
            write(aside, of_model(model))
        return folder
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if MODEL not in there:
        raise PromptError(f"{folder} already exists; name a new or empty directory")
    if not overwrite:
        raise PromptError(
            f"{folder} already exists and holds a model; pass overwrite=True to replace it, or "
            "name a new or empty directory"
        )
    if others := sorted(there - {MODEL, PROMPTS, TEXTS}):
        raise PromptError(
            f"{folder} holds {escape(others[0])}, which is not part of a saved model; name a new "
            "or empty directory"
        )
    write(folder, of_model(model))
    if model.class_texts is None:  # model.json no longer refers to it
        (folder / TEXTS).unlink(missing_ok=True)
    return folder


def write(folder: pathlib.Path, saved: Saved) -> None:
    """Writes the files into an existing directory, replacing those that are there.

    Raises:
        PromptError: `read` would refuse the model.
        OSError: they cannot be written; existing files stay unchanged.
    """
    arrays = _flat(saved.prompts)
    content = _serialize(arrays)
    model = {
        "format": FORMAT,
        **{field.name: getattr(saved, field.name) for field in dataclasses.fields(saved)},
        "sizes": dataclasses.asdict(saved.sizes),
        "inputs": dataclasses.asdict(saved.inputs),
        "prompts": {
            "file": PROMPTS,
            "sha256": hashlib.sha256(content).hexdigest(),
            "arrays": saved_arrays.describe(arrays),
        },
        "texts": saved.texts.digest if saved.texts else "",
    }
    model = json.loads(json.dumps(model))  # tuples become lists, as in the digest
    try:
        _check(model)
        class_texts.check_given(_method_of(saved).texts, saved.texts)
        _check_numbers(saved, arrays)
    except ValueError as error:
        raise PromptError(f"this model cannot be saved: {error}") from None
    text = json.dumps(seal(model), indent=1, ensure_ascii=False) + "\n"
    files = {folder / PROMPTS: content, folder / MODEL: text.encode("utf-8")}
    if saved.texts:
        texts = json.dumps(saved.texts.as_json(), indent=1, ensure_ascii=False) + "\n"
        files = {folder / TEXTS: texts.encode("utf-8"), **files}
    # model.json has the digests of the others, so a half-replaced directory is refused.
    write_files(files)


def digest(prompts: Any) -> str:
    """Returns the SHA-256 of the prompts.safetensors that holds this pytree."""
    return hashlib.sha256(_serialize(_flat(prompts))).hexdigest()


def _flat(prompts):
    # Not np.ascontiguousarray, which makes scalars one-dimensional.
    return {
        name: np.asarray(array, order="C") for name, array in saved_arrays.flatten(prompts).items()
    }


def _serialize(arrays):
    # Only one metadata field: with several, the file's digest would depend on their order.
    return safetensors.numpy.save(arrays, {"format": "prompt_jax"})


def is_saved(folder: pathlib.Path) -> bool:
    """Returns whether a directory holds model.json."""
    return (folder / MODEL).is_file()


def read(folder: pathlib.Path) -> Saved:
    """Reads the model in a directory.

    Raises:
        PromptError: there is none, it is damaged, or a later version wrote it.
    """
    path = folder / MODEL
    try:
        content = read_json(path, saved_fields.MOST_BYTES)
    except FileNotFoundError:
        raise PromptError(_absence(folder)) from None
    except (OSError, ValueError) as error:
        raise PromptError(f"{path} cannot be read ({error})") from error
    if not isinstance(content, dict) or type(content.get("format")) is not int:
        raise PromptError(f"{path} does not describe a trained model; pass a run directory")
    if content["format"] != FORMAT:
        raise PromptError(
            f"{path} has format {content['format']}; this version reads {FORMAT}: update prompt_jax"
        )
    try:
        check_seal(content)
        saved = _check(content)
    except _NoMethod as error:
        raise PromptError(f"{path}: {error}") from None
    except ValueError as error:
        raise PromptError(
            f"{path} is damaged, or of another version ({error}); copy it again from its source, "
            "or complete the run again: python -m experiments.complete RUN"
        ) from error
    declared = content["prompts"]
    try:
        saved_arrays.check_loaded(declared["arrays"], saved.method)
    except PromptError as error:
        raise PromptError(f"{path}: {error}") from None
    try:
        arrays = saved_arrays.read(folder / PROMPTS, declared["arrays"], declared["sha256"])
    except OSError as error:
        raise PromptError(f"{folder / PROMPTS} cannot be read ({error})") from error
    saved = dataclasses.replace(saved, prompts=flax.traverse_util.unflatten_dict(arrays, sep="."))
    try:
        _check_numbers(saved, arrays)
    except PromptError as error:
        raise PromptError(f"{folder / PROMPTS} is damaged ({error})") from None
    return dataclasses.replace(saved, texts=_read_texts(folder, saved, content.get("texts", "")))


def _read_texts(folder: pathlib.Path, saved: Saved, digest: str) -> Texts | None:
    """Returns the texts of classes of a model, None if its method reads none."""
    kind = _method_of(saved).texts
    if not kind:
        return None
    texts = text_files.read(folder / TEXTS, kind)
    if texts.digest != digest:
        raise PromptError(
            f"{folder / TEXTS} is damaged, or belongs to another model; copy it again from its "
            "source"
        )
    return texts


def _check_numbers(saved: Saved, arrays: Mapping[str, np.ndarray]) -> None:
    """Raises a PromptError for arrays of valid shapes with invalid values."""
    saved_arrays.check_finite(arrays)
    method = _method_of(saved)
    method.check(saved.prompts, method.Settings(**saved.settings), len(saved.class_names))


def _method_of(saved: Saved) -> methods.Method:
    return methods.find(saved.method, saved.kind, saved.task)


class _NoMethod(PromptError):
    """An error for an unknown method: the file itself may be intact."""


def _check(content: dict[str, Any]) -> Saved:
    """Returns the content of model.json, checked, without the arrays.

    Raises:
        ValueError: names the field.
    """
    checked: Any = check(content, saved_fields.schema(Saved))
    try:
        methods.find(checked.method, checked.kind, checked.task)
    except PromptError as error:
        raise _NoMethod(str(error)) from None
    there = {name: getattr(checked, name) for name in checked.model_fields_set & _FIELDS}
    saved = Saved(
        **there
        | {
            "sizes": saved_fields.make_sizes(content["sizes"]),
            "inputs": saved_fields.make_inputs(content["inputs"]),
            "settings": _with_tuples(content["settings"]),
            "trained": content["trained"],
            "prompts": None,
            "texts": None,
        }
    )
    saved_fields.check_agreement(saved)
    saved_arrays.check(content["prompts"]["arrays"], saved)
    return saved


def check_sizes(saved: Saved, sizes: CLIPConfig, source: str) -> None:
    """Raises a PromptError if the sizes in a model do not match its backbone.

    Args:
        saved: the model.
        sizes: sizes of the loaded backbone.
        source: path or name of the backbone.
    """
    declared, found = dataclasses.asdict(saved.sizes), dataclasses.asdict(sizes)
    if wrong := [name for name in found if declared[name] != found[name]]:
        name = wrong[0]
        raise PromptError(
            f"sizes.{name} of {MODEL} is {declared[name]!r}, but that of its backbone {source} is "
            f"{found[name]!r}: {MODEL} was changed; copy it again from its source"
        )


def _with_tuples(fields):
    """Returns fields with lists as tuples, which JSON does not have."""
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()
    }


def _absence(folder):
    if not folder.is_dir():
        return f"{folder} is not a directory; pass a run directory"
    if (folder / "results.json").is_file():
        return (
            f"{folder} was written by an earlier version, without {MODEL}; complete it: "
            f"python -m experiments.complete {quote(folder)}"
        )
    if (folder / "run.json").is_file():
        return f"{folder} holds an unfinished run; start it again to resume"
    return f"{folder} holds no {MODEL}; pass the directory of a finished run"

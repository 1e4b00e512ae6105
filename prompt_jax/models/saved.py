"""A trained model on disk: prompts.safetensors holds its numbers, model.json all else to use it.

Both lie in a run's folder, and are what is shared. Arrays have the names of their places in the
pytree, joined by full stops: "vision_generator.linear1.kernel". docs/using.md explains the fields.
"""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import flax.traverse_util
import numpy as np
import safetensors.numpy

from prompt_jax import methods
from prompt_jax.clip import CLIPConfig
from prompt_jax.errors import PromptError, quote
from prompt_jax.inputs.given import Inputs
from prompt_jax.models import saved_arrays, saved_fields
from prompt_jax.storage.files import check, check_seal, read_json, seal, write_files

MODEL, PROMPTS = "model.json", "prompts.safetensors"
FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Saved:
    """All that a trained model is, its backbone apart.

    Attributes:
        method: a name from the tables of methods.
        kind: "images" or "videos", what it looks at.
        task: "classes", or of videos "captions", what it was trained to tell apart.
        settings: the fields of the method's `Settings`.
        class_names: those that the prompts were trained on; empty for captions.
        template: the data set's text of a class, "{}" for its name.
        backbone: what `clip.loading.load` was given.
        backbone_hash: see `clip.loading.fingerprint`.
        activation: what it was given beside; "" as the checkpoint says.
        dtype: compute type of the frozen towers.
        precision: of their float32 products, see `CLIP.precision`; earlier files do not say it.
        sizes: of the backbone.
        inputs: how images were prepared.
        trained: what is told of the training, for people: data, shots, seed, figures, commit.
        prompts: the pytree, of numpy arrays; an empty dict where nothing trains.
        class_ids: WordNet's id of each class, of ImageNet's; empty where the data has no ids.
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


_FIELDS = {field.name for field in dataclasses.fields(Saved)}


def write(folder: pathlib.Path, saved: Saved) -> None:
    """Puts both files into a folder that is there, in place of those that are.

    Raises:
        PromptError: it is what `read` would refuse.
        OSError: they cannot be written; those that were there stay.
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
    }
    model = json.loads(json.dumps(model))  # as it will be read: its digest is of lists, not tuples
    try:
        _check(model)
        _check_numbers(saved, arrays)
    except ValueError as error:
        raise PromptError(f"this model cannot be kept: {error}") from None
    text = json.dumps(seal(model), indent=1, ensure_ascii=False) + "\n"
    # model.json says what the other must be: between the two replacements the folder is refused.
    write_files({folder / PROMPTS: content, folder / MODEL: text.encode("utf-8")})


def digest(prompts: Any) -> str:
    """SHA-256 of the prompts.safetensors that holds this pytree: equal prompts have equal ones."""
    return hashlib.sha256(_serialize(_flat(prompts))).hexdigest()


def _flat(prompts):
    # Not np.ascontiguousarray, which gives a single number an axis.
    return {
        name: np.asarray(array, order="C") for name, array in saved_arrays.flatten(prompts).items()
    }


def _serialize(arrays):
    # One word beside the arrays, no more: the file's digest would depend on their order.
    return safetensors.numpy.save(arrays, {"format": "prompt_jax"})


def is_saved(folder: pathlib.Path) -> bool:
    """Whether a folder holds a model's model.json."""
    return (folder / MODEL).is_file()


def read(folder: pathlib.Path) -> Saved:
    """The model in a folder.

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
        raise PromptError(f"{path} is of something else than a trained model; give its folder")
    if content["format"] != FORMAT:
        raise PromptError(
            f"{path} is of format {content['format']}, this version reads {FORMAT}; update "
            "prompt_jax"
        )
    try:
        check_seal(content)
        saved = _check(content)
    except _NoMethod as error:
        raise PromptError(f"{path}: {error}") from None
    except ValueError as error:
        raise PromptError(
            f"{path} is damaged, or of another version ({error}); take it from where it came from "
            "again, or complete the run anew: python -m experiments.complete RUN"
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
    return saved


def _check_numbers(saved: Saved, arrays: Mapping[str, np.ndarray]) -> None:
    """Raises a PromptError for arrays of right shapes whose numbers no training makes."""
    saved_arrays.check_finite(arrays)
    method = methods.find(saved.method, saved.kind, saved.task)
    method.check(saved.prompts, method.Settings(**saved.settings), len(saved.class_names))


class _NoMethod(PromptError):
    """The method is not known here; the file may be whole."""


def _check(content: dict[str, Any]) -> Saved:
    """What model.json holds, but for the arrays; they are those that the method makes.

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
        }
    )
    saved_fields.check_agreement(saved)
    saved_arrays.check(content["prompts"]["arrays"], saved)
    return saved


def check_sizes(saved: Saved, sizes: CLIPConfig, source: str) -> None:
    """Raises a PromptError that names the sizes which a model's backbone does not have.

    Args:
        saved: the model.
        sizes: of the backbone that was loaded for it.
        source: what that is called.
    """
    said, found = dataclasses.asdict(saved.sizes), dataclasses.asdict(sizes)
    if wrong := [name for name in found if said[name] != found[name]]:
        name = wrong[0]
        raise PromptError(
            f"sizes.{name} of {MODEL} is {said[name]!r}, and of its backbone, {source}, "
            f"{found[name]!r}: {MODEL} was changed; take it from where it came from again"
        )


def _with_tuples(fields):
    """As they were before JSON, which has lists alone."""
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()
    }


def _absence(folder):
    if not folder.is_dir():
        return f"{folder} is no folder; give a run's folder"
    if (folder / "results.json").is_file():
        return (
            f"{folder} was left by an earlier version, without {MODEL}; complete it: "
            f"python -m experiments.complete {quote(folder)}"
        )
    if (folder / "run.json").is_file():
        return f"{folder} holds a run that is not finished; start it again to go on"
    return f"{folder} holds no {MODEL}; give the folder of a finished run"
